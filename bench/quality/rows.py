"""The strategies that are compared; to add one: one entry in ROWS."""

from __future__ import annotations

from dataclasses import replace

from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED, SearchConfig

STEPS = 100  # each row takes as many evaluations of the generator, which is as good as the same time
BICUBIC, MAIN = "bicubic", ("published", "recommended")

ROWS: dict[str, SearchConfig | None] = {
    BICUBIC: None,
    "published": replace(PUBLISHED, steps=STEPS, eps=1e-3),  # eps of the paper; the code's is 2e-3
    "recommended": replace(RECOMMENDED, steps=STEPS),
    "without guess": replace(RECOMMENDED, steps=STEPS, beginning="prior"),
    "shell": replace(RECOMMENDED, steps=STEPS, prior="shell"),
    "staged": replace(RECOMMENDED, steps=STEPS, latent_space="staged"),
    "W": replace(RECOMMENDED, steps=STEPS, latent_space="W"),
    "halving": replace(RECOMMENDED, steps=STEPS - 21, candidates=4, trial_steps=5),
}

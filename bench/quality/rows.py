"""The strategies that are compared; to add one: one entry in ROWS."""

from __future__ import annotations

from dataclasses import replace

from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED, SearchConfig

STEPS = 100  # each row takes as many evaluations of the generator, which is as good as the same time
BICUBIC, MAIN = "bicubic", ("published", "recommended")
EXACT = "recommended, exact"  # the same searches with the remaining error taken off: consistency 1

ROWS: dict[str, SearchConfig | None] = {
    BICUBIC: None,
    "published": replace(PUBLISHED, steps=STEPS, eps=1e-3),  # eps of the paper; the code's is 2e-3
    "recommended": replace(RECOMMENDED, steps=STEPS),
    EXACT: replace(RECOMMENDED, steps=STEPS, consistency=1.0),
    "without guess": replace(RECOMMENDED, steps=STEPS, beginning="prior"),
    "shell": replace(RECOMMENDED, steps=STEPS, prior="shell"),
    "staged": replace(RECOMMENDED, steps=STEPS, latent_space="staged"),
    "W": replace(RECOMMENDED, steps=STEPS, latent_space="W"),
    "less freedom": replace(RECOMMENDED, steps=STEPS, layer_freedom=0.3),
    "faster noise": replace(RECOMMENDED, steps=STEPS, noise_rate=1.0),
    "halving": replace(RECOMMENDED, steps=STEPS - 21, candidates=4, trial_steps=5),
}

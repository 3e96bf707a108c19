"""The strategies that are compared; to add one: one entry in ROWS."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED, SearchConfig

STEPS = 100
BICUBIC, MAIN = "bicubic", ("published", "recommended")
EXACT = "recommended, exact"  # the same searches with the remaining error taken off: consistency 1
SHORT = "recommended, 100 steps"  # recommended goes on where a face is not found

SPREAD = (*MAIN, "less variety")  # searched from a second seed, too

_published, _recommended = replace(PUBLISHED, steps=STEPS), replace(RECOMMENDED, steps=STEPS)
_short = replace(_recommended, patience=1.0)

ROWS: dict[str, SearchConfig | None] = {
    BICUBIC: None,
    "published": _published,
    "recommended": _recommended,
    EXACT: replace(_recommended, consistency=1.0),
    "published, 200 steps": replace(_published, steps=2 * STEPS),
    SHORT: _short,
    "less variety": replace(_short, variety=0.3),
    "without guess": replace(_short, beginning="prior"),
    "shell": replace(_short, prior="shell"),
    "staged": replace(_short, latent_space="staged"),
    "W": replace(_short, latent_space="W"),
    "less freedom": replace(_short, layer_freedom=0.4),
    "fine layers free": replace(_short, fine_falloff=0.0),
    "faster noise": replace(_short, noise_rate=1.0),
    "halving": replace(_short, steps=STEPS - 21, candidates=4, trial_steps=5),
}


def settings(row: str) -> str:
    """What the cells of a row were made with, short: cells of other settings are stale."""
    return hashlib.sha256(repr(ROWS[row]).encode()).hexdigest()[:12]

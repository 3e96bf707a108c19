"""The searches that are compared. To add one, add an entry to ROWS."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED, SearchConfig

BICUBIC, MAIN = "bicubic", ("published", "recommended")

# The default search of 2026-11-26 (commit f551718), with and without the residual correction. The code has changed
# since, so these cells are kept in earlier.json and never computed again.
EARLIER, EARLIER_EXACT = "earlier default", "earlier default, exact"

SPREAD = MAIN  # also searched with a second seed

ROWS: dict[str, SearchConfig | None] = {
    BICUBIC: None,
    "published": PUBLISHED,
    "recommended": RECOMMENDED,
    "recommended, fidelity 0": replace(RECOMMENDED, fidelity=0.0),  # the generator's own image
    "recommended, twice the steps": replace(RECOMMENDED, steps=2 * RECOMMENDED.steps),
}

PUBLISHED_CELLS = "bcb2752fb8d9"


def settings(row: str) -> str:
    """A hash of the settings of a row. Cells with another hash are stale.

    The published search has a constant: tests compare it with its reference, so new settings do not change its cells.
    """
    return PUBLISHED_CELLS if row == "published" else hashlib.sha256(repr(ROWS[row]).encode()).hexdigest()[:12]

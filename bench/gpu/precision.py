"""The effect of 16-bit features in low-resolution evaluations on whole searches, against float32 with equal seeds.

Any change of rounding alters the trajectory of a search, so another row disables the fused kernels, which round
differently, to show the size of that effect alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from pulse_core.devices.optimizations import disabled
from pulse_core.latent_search.config import RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.latent_search.solution import Solution

from .notebook import Notebook, Row
from .plan import Plan
from .searches import _default

ROWS: dict[str, tuple[str, ...]] = {
    "float32": ("half",),
    "16 bits": (),
    "float32, other rounding": ("half", "kernels"),
}
SEEDS = (0, 1)


def measure(plan: Plan, notes: Notebook, load: Callable[[torch.device], Any] | None = None) -> None:
    """A row for each of ROWS: all targets from two seeds."""
    results: dict[str, list[Solution]] = {}
    loaded: list[Any] = []
    config = RECOMMENDED if plan.search_steps is None else replace(RECOMMENDED, steps=plan.search_steps)

    def find(name: str) -> Row:
        if not loaded:
            loaded.append((load or _default)(plan.device))
        generator, gaussian, targets = loaded[0]
        given = [target[0] for target in list(targets.values())[: plan.searches]]
        with disabled(*ROWS[name]):
            results[name] = [
                found
                for seed in SEEDS
                for found in search(generator, given, gaussian, replace(config, batch_size=1), seed=seed)
            ]
        return _scores(results[name], results.get("float32", results[name]))

    for name in ROWS:
        notes.measure("precision", {"row": name}, lambda: find(name))  # noqa: B023 - called at once


def _scores(found: list[Solution], wanted: list[Solution]) -> Row:
    pairs = list(zip(found, wanted, strict=True))
    return {
        "searches": len(found),
        "found": sum(each.converged for each in found),
        "l2s": [each.search_l2 for each in found],
        "worst": max(each.max_error for each in found),
        "distance": sum(each.distance for each in found) / len(found),
        "apart": [float((one.image - other.image).square().mean().sqrt()) for one, other in pairs],
    }

"""Whole searches for targets of `make quality`: whether they converge, and how long they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.quality.cases import cases
from bench.quality.targets import GENERATED, PHOTOGRAPH, degraded_and_clean, faces
from bench.speed.floor import seconds
from pulse_core.generators import Generator
from pulse_core.latent_search.config import RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.latent_search.solution import Solution
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.pipeline import load_with_fit

from .notebook import Notebook, Row
from .plan import Plan

Targets = dict[str, Tensor]  # [1, 3, side, side] each, by name


def measure(plan: Plan, notes: Notebook, load: Callable[[torch.device], Any] | None = None) -> None:
    """A row for each target alone, and two for all of them as a batch.

    Args:
        load: returns the generator, its fit and the targets; None means the default generator's.
    """
    loaded: list[tuple[Generator, LatentGaussian, Targets]] = []

    def load_targets() -> Row:
        loaded.append((load or _default)(plan.device))
        return {"targets": list(loaded[0][2])[: plan.searches]}

    notes.measure("searches", {"what": "targets"}, load_targets)
    if not loaded:
        return
    generator, gaussian, targets = loaded[0]
    config = RECOMMENDED if plan.search_steps is None else replace(RECOMMENDED, steps=plan.search_steps)
    names = list(targets)[: plan.searches]

    def find(chosen: Sequence[str]) -> Row:
        found: list[Solution] = []
        given = torch.cat([targets[name].to(plan.device) for name in chosen])
        together = replace(config, batch_size=len(chosen))
        taken = seconds(lambda: found.extend(search(generator, given, gaussian, together)), plan.device)
        images = [_scores(name, solution) for name, solution in zip(chosen, found, strict=True)]
        return {"seconds": taken, "steps": config.steps, "found": images}

    for number, name in enumerate(names):
        alone = "first" if number == 0 else "alone"
        notes.measure("searches", {"what": alone, "target": name}, lambda: find([name]))  # noqa: B023 - called at once
    for what in ("batch, first", "batch"):
        notes.measure("searches", {"what": what, "batch": len(names)}, lambda: find(names))


def _scores(name: str, solution: Solution) -> Row:
    return {
        "target": name,
        "converged": solution.converged,
        "search_l2": solution.search_l2,
        "worst": solution.max_error,
        "distance": solution.distance,
    }


def _default(device: torch.device) -> tuple[Generator, LatentGaussian, Targets]:
    """The default generator, and of the table's targets its first four, two photographs and two generated faces."""
    generator, gaussian = load_with_fit("ffhq-mobile", device=device)
    known = {target.name: target for target in faces(generator, 2)}
    first = list(dict.fromkeys(case.target for case in cases(list(known.values()), quick=False)))[:4]
    others = [name for name, target in known.items() if target.kind in (PHOTOGRAPH, GENERATED)]
    return generator, gaussian, {name: degraded_and_clean(known[name], "clean", 32)[0] for name in (*first, *others)}

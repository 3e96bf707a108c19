"""How far each family's steps on the device are from float64 on the CPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pulse_core.gaussian import LatentGaussian, fit_gaussian
from pulse_core.generators import Generator
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED, SearchConfig
from pulse_core.latent_search.run import Run
from pulse_core.loading import generator_from
from pulse_core.optimizations import without

from .loops import new_run
from .notebook import Notebook, Row
from .plan import Plan, tf32

TESTS = Path(__file__).resolve().parents[2] / "tests"
SHRUNK = 8  # times, from the picture to the target
STEPS = 4  # that are compared; by the third a step is captured and replayed

# Which steps: the settings, TF32 or not, and what is left out.
KINDS: dict[str, tuple[SearchConfig, bool, tuple[str, ...]]] = {
    "full": (PUBLISHED, False, ()),
    "full, TF32": (PUBLISHED, True, ()),
    "low": (replace(RECOMMENDED, init="prior"), False, ("half",)),
    "low, TF32": (replace(RECOMMENDED, init="prior"), True, ("half",)),
    "low, 16 bit": (replace(RECOMMENDED, init="prior"), False, ()),
}


def measure(plan: Plan, notes: Notebook) -> None:
    """A row for each family and kind of step."""
    zoo = _zoo()
    if zoo is None:
        notes.measure("parity", {"family": "all"}, lambda: {"failed": "tests/zoo.py is not here"})
        return
    for family in zoo.ZOO if plan.families is None else plan.families:
        exact = cache(partial(_exact, zoo, family))
        for kind in KINDS:
            work = partial(_compare, zoo, family, kind, exact, plan.device)
            notes.measure("parity", {"family": family, "kind": kind}, work)


def _exact(zoo: Any, family: str, config: SearchConfig) -> _Walk:
    return _walk(*_built(zoo, family, torch.float64), config)


def _compare(zoo: Any, family: str, kind: str, exact: Callable[[SearchConfig], _Walk], device: torch.device) -> Row:
    config, on, left_out = KINDS[kind]
    generator, gaussian = _built(zoo, family, torch.float32)
    if config.full_every > 1 and not generator.synthesis.has_coarse:
        return {"note": "no low-resolution picture"}
    with tf32(on), without(*left_out):
        return _apart(exact(config), generator, gaussian, device)


def _zoo() -> Any:
    """tests/zoo.py, or None where it is not here."""
    if not (TESTS / "zoo.py").is_file():
        return None
    with _path(TESTS):
        return importlib.import_module("zoo")


@contextmanager
def _path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _built(zoo: Any, family: str, dtype: torch.dtype) -> tuple[Generator, LatentGaussian]:
    animal = zoo.ZOO[family]()
    generator = generator_from(animal.tensors, animal.facts, name=family, dtype=dtype)
    gaussian = fit_gaussian(generator, 200, class_index=1 if generator.c_dim else None)
    return generator, gaussian


class _Walk:
    """What a search saw on the CPU in float64: where it stood, its L2 and its gradients, at each step."""

    def __init__(self, config: SearchConfig, target: Tensor):
        self.config, self.target = config, target
        self.places: list[list[Tensor]] = []
        self.l2: list[Tensor] = []
        self.gradients: list[list[Tensor]] = []


def _walk(generator: Generator, gaussian: LatentGaussian, config: SearchConfig) -> _Walk:
    side = (generator.size[0] // SHRUNK, generator.size[1] // SHRUNK)
    random = torch.Generator().manual_seed(1)
    target = torch.rand(2, 3, *side, generator=random).double()
    seen = _Walk(config, target)
    run = new_run(generator, target, gaussian.each(lambda tensor: tensor.double()), config)
    for _ in range(STEPS):
        seen.places.append([value.detach().clone() for value in run.optimizer.values])
        _step(run, seen)
    return seen


def _step(run: Run, seen: _Walk) -> None:
    l2 = run.evaluate(gradient=True).l2.detach().double().cpu()
    run.move()
    seen.l2.append(l2)
    values = run.optimizer.values
    seen.gradients.append([value.grad.double().cpu() for value in values if value.grad is not None])


def _apart(known: _Walk, generator: Generator, gaussian: LatentGaussian, device: torch.device) -> Row:
    """The worst relative errors of L2 and of a gradient, each step from where float64 stood.

    Args:
        generator, gaussian: in float32, on the CPU.
    """
    generator = generator.to(device)
    target = known.target.float().to(device)
    run = new_run(generator, target, gaussian.each(lambda tensor: tensor.float().to(device)), known.config)
    own = _Walk(known.config, target)
    for place in known.places:
        with torch.no_grad():
            for value, exact in zip(run.optimizer.values, place, strict=True):
                value.copy_(exact)
        _step(run, own)
    l2 = max(_relative(a, b) for a, b in zip(own.l2, known.l2, strict=True))
    gradients = zip(own.gradients, known.gradients, strict=True)
    pairs = [pair for mine, exact in gradients for pair in zip(mine, exact, strict=True)]
    return {"l2": l2, "gradient": max(_relative(a, b) for a, b in pairs if b.norm() > 0)}


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())

"""The error of each family's steps on the device, relative to float64 on the CPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pulse_core.devices.optimizations import disabled
from pulse_core.generators import Generator
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED, SearchConfig
from pulse_core.latent_search.run import Run
from pulse_core.latents.gaussian import LatentGaussian, fit_gaussian
from pulse_core.loading.load import generator_from

from .loops import new_run
from .notebook import Notebook, Row
from .plan import Plan, tf32

TESTS = Path(__file__).resolve().parents[2] / "tests"
SHRUNK = 8  # downscaling factor from the image to the target
STEPS = 4  # to compare; by the third, a step is captured and replayed

PRIOR = replace(RECOMMENDED, init="random")


class Kind(NamedTuple):
    """Settings, TF32, optimizations to disable, and whether to run on the CPU, which shows the effect of rounding."""

    config: SearchConfig
    tf32: bool = False
    disabled_names: tuple[str, ...] = ()
    on_cpu: bool = False


KINDS = {
    "full, CPU": Kind(PUBLISHED, on_cpu=True),
    "full": Kind(PUBLISHED),
    "full, TF32": Kind(PUBLISHED, tf32=True),
    "low, CPU": Kind(PRIOR, on_cpu=True),
    "low": Kind(PRIOR, disabled_names=("half",)),
    "low, TF32": Kind(PRIOR, tf32=True, disabled_names=("half",)),
    "low, 16 bit": Kind(PRIOR),
}


def measure(plan: Plan, notes: Notebook) -> None:
    """A row for each family and kind of step."""
    zoo = _zoo()
    if zoo is None:
        notes.measure("parity", {"family": "all"}, lambda: {"failed": "tests/zoo.py is missing"})
        return
    for family in zoo.ZOO if plan.families is None else plan.families:
        exact = cache(partial(_reference, zoo, family))
        for kind in KINDS:
            work = partial(_compare, zoo, family, kind, exact, plan.device)
            notes.measure("parity", {"family": family, "kind": kind}, work)


def _reference(zoo: Any, family: str, config: SearchConfig) -> _Trajectory:
    generator = _build(zoo, family, torch.float64)
    return _reference_trajectory(
        generator, fit_gaussian(generator, 200, class_index=1 if generator.c_dim else None), config
    )


def _compare(
    zoo: Any, family: str, name: str, exact: Callable[[SearchConfig], _Trajectory], device: torch.device
) -> Row:
    kind = KINDS[name]
    generator = _build(zoo, family, torch.float32)
    if kind.config.full_every > 1 and not generator.synthesis.has_low_resolution:
        return {"note": "no low-resolution picture"}
    with tf32(kind.tf32), disabled(*kind.disabled_names):
        return _errors(exact(kind.config), generator, torch.device("cpu") if kind.on_cpu else device)


def _zoo() -> Any:
    """tests/zoo.py, or None if it is missing."""
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


def _build(zoo: Any, family: str, dtype: torch.dtype) -> Generator:
    animal = zoo.ZOO[family]()
    return generator_from(animal.tensors, animal.metadata, name=family, dtype=dtype)


class _Trajectory:
    """The variables, L2 and gradients of a search at each step."""

    def __init__(self, config: SearchConfig, target: Tensor, gaussian: LatentGaussian):
        self.config, self.target, self.gaussian = config, target, gaussian
        self.variables: list[list[Tensor]] = []
        self.l2: list[Tensor] = []
        self.gradients: list[list[Tensor]] = []


def _reference_trajectory(generator: Generator, gaussian: LatentGaussian, config: SearchConfig) -> _Trajectory:
    side = (generator.size[0] // SHRUNK, generator.size[1] // SHRUNK)
    random = torch.Generator().manual_seed(1)
    target = torch.rand(2, 3, *side, generator=random).double()
    seen = _Trajectory(config, target, gaussian.map_tensors(lambda tensor: tensor.double()))
    run = new_run(generator, target, seen.gaussian, config)
    for _ in range(STEPS):
        seen.variables.append([value.detach().clone() for value in run.optimizer.values])
        _step(run, seen)
    return seen


def _step(run: Run, seen: _Trajectory) -> None:
    l2 = run.evaluate(gradient=True).l2.detach().double().cpu()
    run.move()
    seen.l2.append(l2)
    values = run.optimizer.values
    seen.gradients.append([value.grad.double().cpu() for value in values if value.grad is not None])


def _errors(known: _Trajectory, generator: Generator, device: torch.device) -> Row:
    """The largest relative errors of L2 and of a gradient, with each step starting from the float64 variables.

    Args:
        generator: in float32, on the CPU.
    """
    target = known.target.float().to(device)
    own = _Trajectory(known.config, target, known.gaussian.map_tensors(lambda tensor: tensor.float().to(device)))
    run = new_run(generator.to(device), target, own.gaussian, known.config)
    for reference in known.variables:
        with torch.no_grad():
            for value, exact in zip(run.optimizer.values, reference, strict=True):
                value.copy_(exact)
        _step(run, own)
    l2 = max(_relative(a, b) for a, b in zip(own.l2, known.l2, strict=True))
    gradients = zip(own.gradients, known.gradients, strict=True)
    pairs = [pair for mine, exact in gradients for pair in zip(mine, exact, strict=True)]
    return {"l2": l2, "gradient": max(_relative(a, b) for a, b in pairs if b.norm() > 0)}


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())

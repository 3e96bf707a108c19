"""What is measured on a card, and how often."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.speed.shapes import CASES, tensors_of
from pulse_core.devices.check import apply_memory_format
from pulse_core.devices.device import exact_float32
from pulse_core.fetching import catalogue
from pulse_core.generators import Generator, build_generator
from pulse_core.latents.gaussian import LatentGaussian

TARGET = 32  # pixels a side

# What is left out for each row of the steps; all others are on.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "everything on": (),
    "without channels_last": ("channels_last",),
    "without half": ("half",),
    "without graphs": ("graphs",),
    "without kernels": ("kernels",),
    "everything off": ("channels_last", "half", "graphs", "kernels", "layers"),
}


@dataclass(frozen=True)
class Case:
    """A generator to time: its name, and what gives its tensors under the pack's names."""

    name: str
    tensors: Callable[[], dict[str, Tensor]]

    def build(self, device: torch.device) -> Generator:
        """On a device, in the memory format that is on now, as a search lays it out."""
        generator = build_generator(self.tensors(), name=self.name).to(device)
        apply_memory_format(generator)
        return generator


def true_cases(*, quick: bool) -> tuple[Case, ...]:
    """Generators of true shape, the default one first."""
    default = catalogue.DEFAULT_GENERATOR
    names = (default,) if quick else (default, *(name for name in CASES if name != default))
    return tuple(Case(name, functools.partial(tensors_of, name)) for name in names)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often.

    target: pixels a side of what is searched for.
    steps, rounds: steps that are timed together, and how often; the median of the rounds counts.
    warm_up: steps before them; by the third a step is captured.
    searches, search_steps: targets, and steps of each; None: the recommended number.
    families: of tests/zoo.py whose parity is measured; None: all of them.
    matrix: side of the matrices that show the peaks; copied: numbers that are copied for it.
    minutes: after which nothing more is begun.
    """

    device: torch.device
    cases: tuple[Case, ...]
    batches: tuple[int, ...] = (1, 4, 16)
    target: int = TARGET
    steps: int = 10
    rounds: int = 3
    warm_up: int = 4
    searches: int = 8
    search_steps: int | None = None
    families: tuple[str, ...] | None = None
    matrix: int = 8192
    copied: int = 2**28
    reference: Path | None = None
    minutes: float = 20.0

    @property
    def is_cuda(self) -> bool:
        """Whether there are events, graphs and TF32."""
        return self.device.type == "cuda"


def plan_for(device: torch.device, *, quick: bool, reference: Path | None, minutes: float) -> Plan:
    """The usual one; on a CPU a rehearsal, which runs every line and measures nothing of use."""
    cases = true_cases(quick=quick)
    if device.type == "cpu":
        few = {"steps": 1, "rounds": 1, "warm_up": 1, "searches": 1, "search_steps": 3, "matrix": 512, "copied": 2**20}
        families = ("mobilestylegan", "stylegan2 skip") if quick else None
        return Plan(device, cases, (1,), families=families, reference=reference, minutes=minutes, **few)
    if quick:
        return Plan(device, cases, (1, 4), rounds=1, searches=2, reference=reference, minutes=minutes)
    return Plan(device, cases, reference=reference, minutes=minutes)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Lets convolutions of float32 round their factors to 10 bits, as torch does by default; off is as a search does.

    CUDA alone knows it.
    """
    if on:
        torch.backends.cudnn.allow_tf32 = True
        yield
        return
    with exact_float32():
        yield


def standard(generator: Generator, device: torch.device) -> LatentGaussian:
    """A standard normal W, which will do for random weights."""
    ones = torch.ones(generator.w_dim, device=device)
    return LatentGaussian(torch.zeros_like(ones), ones, torch.diag(ones))

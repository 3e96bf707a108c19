"""What to measure on a GPU, and how often."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.speed.shapes import CASES, tensors_of
from pulse_core.devices.device import exact_float32
from pulse_core.generators import Generator, build_generator
from pulse_core.generators.device_check import apply_memory_format
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.loading import catalogue

TARGET = 32  # pixels per side

# The optimizations to disable for each row of the steps.
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
    """A generator to time: its name, and a function that returns its tensors by this pack's names."""

    name: str
    tensors: Callable[[], dict[str, Tensor]]

    def build(self, device: torch.device) -> Generator:
        """Builds it on a device, in the memory format that is enabled now."""
        generator = build_generator(self.tensors(), name=self.name).to(device)
        apply_memory_format(generator)
        return generator


def true_cases(*, quick: bool) -> tuple[Case, ...]:
    """Generators with the shapes of published ones, the default one first."""
    default = catalogue.DEFAULT_GENERATOR
    names = (default,) if quick else (default, *(name for name in CASES if name != default))
    return tuple(Case(name, functools.partial(tensors_of, name)) for name in names)


@dataclass(frozen=True)
class Plan:
    """What to measure, and how often.

    target: pixels per side of the targets.
    steps, rounds: steps timed together, and repetitions; the median over rounds is reported.
    warm_up: steps before those; by the third, a step is captured.
    searches, search_steps: number of targets, and steps of each search; None means the recommended number.
    families: names in tests/zoo.py for the parity; None means all.
    matrix: side of the matrices that measure peak arithmetic; copied: elements copied to measure peak bandwidth.
    minutes: the time after which no measurement is started.
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
        """Whether the device has events, graphs and TF32."""
        return self.device.type == "cuda"


def plan_for(device: torch.device, *, quick: bool, reference: Path | None, minutes: float) -> Plan:
    """The plan for a device; on a CPU a dry run, whose results mean nothing."""
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
    """Context manager: allows TF32 in float32 convolutions, torch's default, or forbids it, as a search does.

    Affects CUDA only.
    """
    if on:
        torch.backends.cudnn.allow_tf32 = True
        yield
        return
    with exact_float32():
        yield


def standard(generator: Generator, device: torch.device) -> LatentGaussian:
    """A standard normal Gaussian fit, good enough for random weights."""
    ones = torch.ones(generator.w_dim, device=device)
    return LatentGaussian(torch.zeros_like(ones), ones, torch.diag(ones))

"""The loops to time: each kind of step of our search, the plain loop, and the published code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bench.speed.floor import CountWork, seconds
from bench.speed.plain import PlainSearch, synthesis_of
from bench.speed.published import PublishedSearch
from pulse_core.degradations import forward_operator
from pulse_core.devices.optimizations import disabled
from pulse_core.generators import Generator
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED, SearchConfig
from pulse_core.latent_search.run import Run
from pulse_core.latent_search.solution import Job
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.pictures.images import to_picture

from .plan import Case, Plan, standard

Step = Callable[[], Any]
PRIOR = replace(RECOMMENDED, init="random")  # an encoder serves one generator only
_NEVER = 1000  # steps between full evaluations: none
_LONG = 3.0  # seconds; a longer loop is not repeated


class Ours:
    """Searches of one generator, for targets that it can render."""

    def __init__(self, generator: Generator, batch: int, target: int, device: torch.device):
        self.generator, self.device = generator, device
        self.gaussian = standard(generator, device)
        self.target = _own_target(generator, self.gaussian, batch, target)

    def run(self, config: SearchConfig) -> Run:
        """A search, before its first step."""
        return new_run(self.generator, self.target, self.gaussian, config)

    def full(self, steps: int) -> Step:
        """Full steps with the published settings."""
        return stepping(self.run(replace(PUBLISHED, steps=steps)))

    def low_resolution(self, each: int) -> tuple[Run, Step]:
        """`each` steps at the first size of low-resolution evaluations, then as many at the second.

        Only the first step of each size has a full evaluation too, so the search never falls back to full steps.
        """
        run = self.run(replace(PRIOR, steps=2 * each, full_every=_NEVER))
        return run, stepping(run)


def new_run(generator: Generator, target: Tensor, gaussian: LatentGaussian, config: SearchConfig) -> Run:
    """A search for a batch of targets, each from its own seed."""
    degradation = forward_operator(None, (target.shape[-2], target.shape[-1]), generator.size)
    return Run(generator, target, gaussian, config, degradation, tuple(Job(i, i) for i in range(len(target))))


def stepping(run: Run) -> Step:
    """A function that takes one step of a search."""

    def step() -> None:
        run.evaluate(gradient=True)
        run.move()

    return step


@torch.no_grad()
def _own_target(generator: Generator, gaussian: LatentGaussian, batch: int, side: int) -> Tensor:
    """Downscaled samples [batch, C, side, side]; for reachable targets low-resolution evaluations pay off."""
    random = torch.Generator().manual_seed(1)
    degradation = forward_operator(None, (side, side), generator.size)
    targets = []
    for _ in range(batch):
        latent = torch.randn(1, 1, generator.w_dim, generator=random).expand(-1, generator.num_ws, -1)
        ws = gaussian.to_ws(latent.to(next(generator.synthesis.parameters())))
        targets.append(degradation.forward(to_picture(generator.synthesis(ws))).clamp(0, 1))
    return torch.cat(targets)


def plain(case: Case, batch: int, plan: Plan) -> Step:
    """The plain loop."""
    tensors = {name: each.to(plan.device) for name, each in case.tensors().items()}
    generator = case.build(torch.device("cpu"))
    shapes, num_ws, gaussian = generator.noise_shapes, generator.num_ws, standard(generator, torch.device("cpu"))
    target = torch.rand(batch, 3, plan.target, plan.target, generator=torch.Generator().manual_seed(1))
    return PlainSearch(synthesis_of(tensors), gaussian, num_ws, shapes, target.to(plan.device)).step


def published(case: Case, batch: int, plan: Plan) -> Step:
    """The published code itself, which supports StyleGAN1 at 1024 only."""
    assert plan.reference is not None
    tensors = {name: each.to(plan.device) for name, each in case.tensors().items()}
    target = torch.rand(batch, 3, plan.target, plan.target, generator=torch.Generator().manual_seed(1))
    gaussian = LatentGaussian(torch.zeros(512), torch.ones(512))
    return PublishedSearch(plan.reference, tensors, gaussian, target.to(plan.device)).step


def milliseconds(step: Step, plan: Plan, *, warm_up: int | None = None) -> float:
    """Milliseconds per step, of many steps with one synchronisation at the end; the median over rounds."""
    for _ in range(plan.warm_up if warm_up is None else warm_up):
        step()
    rounds = []
    for _ in range(plan.rounds):
        rounds.append(1e3 * seconds(lambda: _repeat(step, plan.steps), plan.device) / plan.steps)
        if rounds[-1] * plan.steps > 1e3 * _LONG:
            break
    return median(rounds)


def low_milliseconds(ours: Ours, plan: Plan) -> list[float]:
    """Milliseconds per low-resolution step, at each of its two sizes."""
    each = plan.warm_up + plan.steps * plan.rounds
    _, step = ours.low_resolution(each)
    sizes = []
    for _ in range(2):
        _repeat(step, plan.warm_up)
        rounds = [seconds(lambda: _repeat(step, plan.steps), plan.device) for _ in range(plan.rounds)]
        sizes.append(1e3 * median(rounds) / plan.steps)
    return sizes


def search_milliseconds(ours: Ours, plan: Plan) -> tuple[float, bool]:
    """Milliseconds per step of the recommended search, and whether it kept its low-resolution evaluations."""
    steps = plan.search_steps or RECOMMENDED.steps
    run = ours.run(replace(PRIOR, steps=steps))
    step = stepping(run)
    taken = seconds(lambda: _repeat(step, steps), plan.device)
    return 1e3 * taken / steps, bool(run.low.is_worth_it)


def _repeat(step: Step, times: int) -> None:
    for _ in range(times):
        step()


class Counts(dict[str, CountWork]):
    """The work of a full step, and of a low-resolution one at each size: "full", "low", "low twice"."""


@contextmanager
def launched_anew() -> Iterator[None]:
    """Disables graph replay and fused kernels, whose operations cannot be counted."""
    with disabled("graphs", "kernels"):
        yield


def counted(ours: Ours) -> Counts:
    """See Counts."""
    with launched_anew():
        found = Counts()
        full = ours.full(2)
        full()
        with CountWork() as found["full"]:
            full()
        _, low = ours.low_resolution(2)
        for name in ("low", "low twice"):
            low()
            with CountWork() as found[name]:
                low()
    return found

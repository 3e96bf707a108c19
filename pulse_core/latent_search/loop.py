"""The search itself: one loop over the steps, everything in it per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import torch
from torch import Tensor

from ..degradations.base import Degradation
from ..degradations.bicubic import BicubicDownsample
from ..errors import ImageError, SettingError
from ..gaussian import LatentGaussian
from ..generators import Generator
from ..images import prepare_target, to_rgb
from ..latents import count_seeds, draw_latent, draw_noise, layer_numbers
from ..losses import Loss, LossInputs, mean_squared_error, parse_loss
from .config import SearchConfig
from .optimizers import SphericalOptimizer
from .schedules import SCHEDULES


@dataclass(frozen=True)
class Job:
    """One solution to look for: which target, from which seed."""

    index: int
    seed: int


@dataclass(frozen=True)
class Solution:
    """What one job found: its best iterate, found or not.

    image: [C, H, W] in 0..1. downscaled: this very image, degraded, [C, h, w].
    ws: [num_ws, w_dim] and noise: one [1, H, W] a layer; together they render `image` again.
    l2: mean squared error of `downscaled` against the target; converged: l2 <= eps.
    best_step: the step of the best iterate; steps: how many were taken.
    """

    index: int
    seed: int
    image: Tensor
    downscaled: Tensor
    ws: Tensor
    noise: tuple[Tensor, ...]
    l2: float
    converged: bool
    best_step: int
    steps: int

    def facts(self, eps: float) -> dict[str, Any]:
        """What every report says of a result."""
        return {"seed": self.seed, "l2": self.l2, "eps": eps, "converged": self.converged, "steps": self.steps}


@dataclass(frozen=True)
class StepState:
    """What the callback sees after each evaluation. Tensors are views of the search's own: look, don't keep.

    step: 0 is the start, before any update; steps: the last one. done, total: solutions finished and asked for.
    image: [B, C, H, W] in 0..1, as it would be returned; l2, best_l2: [B], its own and the best one's.
    loss: [B] and terms: [B] each, unweighted, of the image before its colours are clamped, as published.
    latent: [B, num_ws or 1, w_dim] on the sphere. noise: one [B, 1, H, W] a layer. learning_rate: of the coming step.
    """

    jobs: tuple[Job, ...]
    done: int
    total: int
    step: int
    steps: int
    learning_rate: float
    terms: dict[str, Tensor]
    loss: Tensor
    l2: Tensor
    best_l2: Tensor
    image: Tensor
    latent: Tensor
    noise: tuple[Tensor, ...]

    @property
    def progress(self) -> tuple[int, int]:
        """(evaluations made, evaluations in all) over all solutions that were asked for."""
        each = self.steps + 1
        return self.done * each + (self.step + 1) * len(self.jobs), self.total * each


OnStep = Callable[[StepState], "bool | None"]


def search(
    generator: Generator,
    target: Tensor | Sequence[Tensor],
    gaussian: LatentGaussian,
    config: SearchConfig | None = None,
    *,
    seed: int | Sequence[int] = 0,
    degradation: Degradation | None = None,
    on_step: OnStep | None = None,
) -> list[Solution]:
    """PULSE: looks for images of the generator whose degradation is the target (Menon et al. 2020, section 3).

    The latent and the first noise maps move on their spheres down the loss. Differences to the published
    code, each on purpose: every image has its own loss, best iterate and convergence; an iterate within
    eps beats one outside; the last update is rendered too; an image that is not found is still returned.

    Args:
        target: [B, C, h, w] or [C, h, w] in 0..1, or several [C, h, w] of different sizes; grey is repeated,
            alpha is laid on white.
        seed: 0..2^64-1, the same for every image, or one for each. The result of an image depends on its
            target, its seed and the settings alone.
        degradation: how the image becomes the target; None is bicubic downscaling to the target's size.
        on_step: called after each evaluation; returning True ends that search with its best so far. What
            it raises goes through.

    Returns: for each image in turn its `config.starts` solutions.

    Raises:
        ImageError: a target that the generator cannot be downscaled to.
        SettingError: a wrong number of seeds, a fit of another W, or settings that lead to no finite image.
    """
    return list(solutions(generator, target, gaussian, config, seed=seed, degradation=degradation, on_step=on_step))


def solutions(
    generator: Generator,
    target: Tensor | Sequence[Tensor],
    gaussian: LatentGaussian,
    config: SearchConfig | None = None,
    *,
    seed: int | Sequence[int] = 0,
    degradation: Degradation | None = None,
    on_step: OnStep | None = None,
) -> Iterator[Solution]:
    """As `search`, one by one as they are found, so that not all need be held at the same time."""
    config = config or SearchConfig()
    if gaussian.mean.shape != (generator.w_dim,):
        raise SettingError(
            f"The latent fit has {gaussian.mean.numel()} dimensions; W of {generator.name} has {generator.w_dim}.",
            "a fit of this generator.",
            "make one with `fit`, or leave it out.",
        )
    like = next(generator.synthesis.parameters())
    parts = [target] if isinstance(target, Tensor) else target
    targets = [
        image.to(like) for part in parts for image in prepare_target(part, generator, any_size=degradation is not None)
    ]
    if not targets:
        raise ImageError("There is no target.", "at least one image.", "give a picture.")
    jobs, done = list(_jobs(len(targets), seed, config.starts)), 0
    for batch in _batches(jobs, targets, config.batch_size):
        goal = torch.stack([targets[job.index] for job in batch])
        through = degradation or BicubicDownsample(size=(goal.shape[-2], goal.shape[-1]))
        run = _Run(generator, goal, gaussian, config, through, batch)
        yield from run.to_the_end(on_step, done=done, total=len(jobs))
        done += len(batch)


def _batches(jobs: Sequence[Job], targets: Sequence[Tensor], most: int) -> Iterator[tuple[Job, ...]]:
    """Neighbours whose targets have one size, at most so many at a time."""
    for _, alike in groupby(jobs, key=lambda job: targets[job.index].shape):
        while batch := tuple(islice(alike, most)):
            yield batch


def _jobs(images: int, seed: int | Sequence[int], starts: int) -> Iterator[Job]:
    seeds = [seed] * images if isinstance(seed, int) else list(seed)
    if len(seeds) != images:
        raise SettingError(
            f"{len(seeds)} seeds were given for {images} images.", "one seed, or one for each image.", "give as many."
        )
    for index, first in enumerate(seeds):
        for each in count_seeds(first, starts):
            yield Job(index, each)


class _Run:
    """One batch of jobs: the variables, and the best iterate of each job."""

    def __init__(
        self,
        generator: Generator,
        target: Tensor,
        gaussian: LatentGaussian,
        config: SearchConfig,
        degradation: Degradation,
        jobs: tuple[Job, ...],
    ):
        self.generator, self.target, self.gaussian = generator, target, gaussian
        self.config, self.degradation, self.jobs = config, degradation, jobs
        self.loss: Loss = parse_loss(config.loss)
        layers = len(generator.noise_shapes)
        zero = layer_numbers(range(layers) if config.noise == "zero" else config.zero_noise_layers, layers)
        self.latent, self.noise = self._draw(zero)
        searched = min(config.trainable_noise_layers, layers) if config.noise == "trainable" else 0
        moving = [self.noise[layer] for layer in range(searched) if layer not in zero]
        self.variables = [variable.requires_grad_() for variable in (self.latent, *moving)]
        self.optimizer = SphericalOptimizer(config.optimizer, self.variables, config.learning_rate)
        self.best = _Best(len(jobs), target)

    def _draw(self, zero: set[int]) -> tuple[Tensor, list[Tensor]]:
        """Latents and noise of each job from its own random generator, then stacked."""
        latents, noises = [], []
        for job in self.jobs:
            random = torch.Generator().manual_seed(job.seed)
            latents.append(draw_latent(random, self.config.latent_space, self.generator.num_ws, self.generator.w_dim))
            noises.append(draw_noise(random, self.generator.noise_shapes, zero))
        stacked = [torch.stack(maps).to(self.target) for maps in zip(*noises, strict=True)]
        return torch.stack(latents).to(self.target), stacked

    def to_the_end(self, on_step: OnStep | None, done: int, total: int) -> list[Solution]:
        """Takes the steps; each evaluates, remembers the best, tells the callback, then moves."""
        steps, schedule = self.config.steps, SCHEDULES[self.config.schedule]
        step = 0
        for step in range(steps + 1):
            rate = self.config.learning_rate * schedule(step, steps)
            with torch.set_grad_enabled(step < steps):
                ws = self.gaussian.to_ws(self.latent).expand(-1, self.generator.num_ws, -1)
                image = to_rgb((self.generator.synthesis(ws, noise=self.noise) + 1) / 2)
                measured = self.degradation.measure(image)
                terms = self.loss.terms(LossInputs(measured, self.target, ws, self.config.eps))
                loss = self.loss.total(terms)
            with torch.no_grad():
                shown = image.clamp(0, 1)  # what would be returned; out of range colours must not count as found
                l2 = mean_squared_error(self.degradation.measure(shown), self.target)
                self.best.offer(step, loss, l2, l2 <= self.config.eps, shown, ws, self.noise)
            if on_step is not None:
                state = StepState(
                    jobs=self.jobs,
                    done=done,
                    total=total,
                    step=step,
                    steps=steps,
                    learning_rate=rate,
                    terms={name: term.detach() for name, term in terms.items()},
                    loss=loss.detach(),
                    l2=l2,
                    best_l2=self.best.l2,
                    image=shown,
                    latent=self.latent.detach(),
                    noise=tuple(noise.detach() for noise in self.noise),
                )
                if on_step(state):
                    break
            if step < steps:
                self.optimizer.step(torch.autograd.grad(loss.sum(), self.variables), rate)
        return [self._solution(row, step) for row in range(len(self.jobs))]

    def _solution(self, row: int, steps: int) -> Solution:
        job, best = self.jobs[row], self.best
        if best.step[row] < 0:
            raise SettingError(
                f"The search for image {job.index} with seed {job.seed} met no finite loss.",
                "settings that keep the image finite.",
                "lower the learning rate; if even the first step fails, the generator's weights are damaged.",
            )
        image = best.image[row].clone()
        l2 = float(best.l2[row])
        return Solution(
            index=job.index,
            seed=job.seed,
            image=image,
            downscaled=self.degradation.measure(image[None])[0],
            ws=best.ws[row].clone(),
            noise=tuple(noise[row].clone() for noise in best.noise),
            l2=l2,
            converged=l2 <= self.config.eps,
            best_step=int(best.step[row]),
            steps=steps,
        )


class _Best:
    """The best iterate of each image so far: within eps before outside, then the smaller loss."""

    def __init__(self, images: int, like: Tensor):
        self.step = torch.full((images,), -1)
        self.l2 = like.new_full((images,), torch.inf)
        self._loss = like.new_full((images,), torch.inf)
        self._found = torch.zeros(images, dtype=torch.bool, device=like.device)
        self.image = self.ws = like.new_empty(0)
        self.noise: list[Tensor] = []

    def offer(
        self, step: int, loss: Tensor, l2: Tensor, found: Tensor, image: Tensor, ws: Tensor, noise: Sequence[Tensor]
    ) -> None:
        """Keeps what is better. A loss that is not finite never is."""
        sooner = (found & ~self._found) | ((found == self._found) & (loss < self._loss))
        better = sooner & loss.isfinite()
        if not bool(better.any()):
            return
        if self.image.numel() == 0:
            self.image, self.ws, self.noise = image.clone(), ws.clone(), [n.detach().clone() for n in noise]
        for kept, new in ((self.l2, l2), (self._loss, loss), (self._found, found), (self.image, image), (self.ws, ws)):
            kept[better] = new[better]
        for kept, new in zip(self.noise, noise, strict=True):
            kept[better] = new[better]
        self.step[better.cpu()] = step

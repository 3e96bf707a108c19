"""The search itself: which pictures, from which seeds, and the one loop over the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..degradations import Degradation, forward_operator
from ..devices.check import check_device
from ..devices.device import empty_cache, exact_float32
from ..errors import ImageError, SettingError
from ..generators import Generator
from ..latents.gaussian import LatentGaussian
from ..pictures.images import prepare_target
from .batches import batch_size_on, batches, found_in_parts, jobs_of, rows_of
from .config import SearchConfig
from .run import Evaluation, Run
from .solution import Job, OnStep, Solution, StepState, ranking

if TYPE_CHECKING:
    from ..latents.latent import Latent


def search(
    generator: Generator,
    target: Tensor | Sequence[Tensor],
    gaussian: LatentGaussian,
    config: SearchConfig | None = None,
    *,
    seed: int | Sequence[int] = 0,
    degradation: Degradation | Sequence[Degradation | None] | None = None,
    init_latent: Latent | None = None,
    on_step: OnStep | None = None,
) -> list[Solution]:
    """PULSE: looks for images of the generator whose degradation is the target (Menon et al. 2020, section 3).

    The latents and the first noise maps move down the loss, the noise on its sphere, the latents where their
    prior lets them. Differences to the published code, each on purpose: every image has its own loss, best
    iterate and convergence; an iterate within eps beats one outside; the last update is rendered too; an image
    that is not found is still returned.

    Args:
        target: [B, C, h, w] or [C, h, w] in 0..1, or several [C, h, w] of different sizes; grey is repeated,
            alpha is laid on white.
        seed: 0..2^64-1, the same for every image, or one for each. The result of an image depends on its
            target, its seed and the settings alone.
        degradation: how the image becomes the target, the same for all or one for each; None is bicubic downscaling
            to the target's size.
        init_latent: latents of this generator to begin with and to stay near: one for each solution, or one for all
            images; None begins as the settings say.
        on_step: called after each evaluation; returning True ends that search with its best so far. What
            it raises goes through.

    Returns: for each image in turn its `config.solutions` solutions, the best `score` first.

    Raises:
        ImageError: a target that the generator cannot be downscaled to.
        SettingError: a wrong number of seeds or degradations, a fit of another W, an init_latent of another
            generator, or settings that lead to no finite image.
    """
    found = list(
        iter_search(
            generator,
            target,
            gaussian,
            config,
            seed=seed,
            degradation=degradation,
            init_latent=init_latent,
            on_step=on_step,
        )
    )
    return [found[row] for row in ranking(found)]


def iter_search(
    generator: Generator,
    target: Tensor | Sequence[Tensor],
    gaussian: LatentGaussian,
    config: SearchConfig | None = None,
    *,
    seed: int | Sequence[int] = 0,
    degradation: Degradation | Sequence[Degradation | None] | None = None,
    init_latent: Latent | None = None,
    on_step: OnStep | None = None,
    make_room: Callable[[], None] = empty_cache,
) -> Iterator[Solution]:
    """As `search`, one by one as they are found and in the order of the seeds: not all need be held at the same time.

    Args:
        make_room: frees what can be freed when the memory ends, before the batch is tried in halves.
    """
    config = config or SearchConfig()
    if gaussian.mean.shape != (generator.w_dim,):
        raise SettingError(
            f"The latent fit has {gaussian.mean.numel()} dimensions; W of {generator.name} has {generator.w_dim}.",
            "a fit of this generator.",
            "make one with `fit`, or leave it out.",
        )
    check_device(generator)
    like = next(generator.synthesis.parameters())
    gaussian = gaussian.map_tensors(lambda tensor: tensor.to(like))
    images = _images(target)
    degradations = _for_each(degradation, len(images))
    targets = [_prepared(image, generator, each).to(like) for image, each in zip(images, degradations, strict=True)]
    if init_latent is not None:
        init_latent.check(generator)
        init_latent = init_latent.map_tensors(lambda tensor: tensor.to(like))
    jobs = jobs_of(len(targets), seed, config.solutions)
    rows, done = rows_of(init_latent, jobs, len(targets)), 0
    runs: dict[tuple[Any, ...], Run] = {}  # at most one, whose captured steps serve the next batch of its kind

    def find(batch: tuple[Job, ...], *, short: bool) -> list[Solution]:
        goal = torch.stack([targets[job.index] for job in batch])
        operator = forward_operator(degradations[batch[0].index], (goal.shape[-2], goal.shape[-1]), generator.size)
        common = (generator, operator.project(goal), gaussian, config, operator, batch)
        begin = None if init_latent is None else init_latent.take([rows[job] for job in batch])
        loop = _Loop(config, on_step, done, len(jobs))
        recompute = config.gradient_checkpointing == "always" or (short and config.gradient_checkpointing == "auto")
        candidates = range(config.candidates)
        kind = (kinds[batch[0].index], len(batch), recompute)
        before = runs.get(kind)
        runs.clear()  # also where memory ends
        with exact_float32():
            run = loop.best_of([Run(*common, candidate, begin, recompute=recompute) for candidate in candidates])
            if before is not None:
                before.take_over(run)
                run = before
            loop.advance(run)
            if config.candidates == 1:
                runs[kind] = run
            return run.solutions()

    at_a_time = batch_size_on(generator, config, len(jobs))
    kinds = [(each.shape, id(seen)) for each, seen in zip(targets, degradations, strict=True)]
    for batch in batches(jobs, kinds, at_a_time):
        for solution in found_in_parts(batch, find, make_room):
            done += 1
            yield solution


def _images(target: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """[C, h, w] each."""
    parts = [target] if isinstance(target, Tensor) else target
    images = [image for part in parts for image in (part if part.ndim == 4 else [part])]
    if not images:
        raise ImageError("There is no target.", "at least one image.", "give a picture.")
    return images


def _for_each(degradation: Degradation | Sequence[Degradation | None] | None, images: int) -> list[Degradation | None]:
    if degradation is None or isinstance(degradation, Degradation):
        return [degradation] * images
    if len(degradation) != images:
        raise SettingError(
            f"{len(degradation)} degradations were given for {images} images.",
            "one for all images, or one for each.",
            "give as many.",
        )
    return list(degradation)


def _prepared(image: Tensor, generator: Generator, degradation: Degradation | None) -> Tensor:
    """[C, h, w]; only a degradation that makes this very size of the generator's image may change its shape."""
    size = (image.shape[-2], image.shape[-1])
    own = degradation is not None and degradation.output_size(*generator.size) == size
    return prepare_target(image, generator, any_size=own)[0]


class _Loop:
    """Takes the steps of the runs for one batch, and tells the callback of each."""

    def __init__(self, config: SearchConfig, on_step: OnStep | None, done: int, total: int):
        self.config, self.on_step, self.done, self.total = config, on_step, done, total
        self.made, self.planned = 0, _planned(config)
        self.stopped = False

    def best_of(self, runs: list[Run]) -> Run:
        """Successive halving (Jamieson, Talwalkar 2016): after each trial the better half of the starts goes on.

        The better one is that of the smaller objective, in which the prior counts: the closest is not the best face.
        """
        for run in runs:
            run.evaluator.captures = (
                len(runs) == 1
            )  # many captured runs would take too much memory, for a few steps each
        while len(runs) > 1:
            for run in runs:
                self.advance(run, self.config.trial_steps)
            runs = sorted(runs, key=lambda run: run.mean_objective)[: len(runs) // 2]
        runs[0].evaluator.captures = True
        return runs[0]

    def advance(self, run: Run, steps: int | None = None) -> None:
        """So many steps, or to the end, whose last update is evaluated too. A stop keeps what was found so far."""
        until = None if steps is None else run.step + steps
        while not self.stopped:
            seen = run.evaluate(gradient=not run.finished)
            self.made += 1
            if self.on_step is not None:
                self.stopped = bool(self.on_step(self._state(run, seen)))
            if run.finished or self.stopped:
                return
            run.move()
            if run.step == until:
                return

    def _state(self, run: Run, seen: Evaluation) -> StepState:
        return StepState(
            jobs=run.jobs,
            done=self.done,
            total=self.total,
            step=run.step,
            steps=self.config.steps,
            made=self.made,
            planned=self.planned,
            learning_rate=run.learning_rate,
            terms=seen.terms,
            loss=seen.objective,
            l2=seen.l2,
            best_l2=run.best.l2,
            tolerance=run.termination.tolerance,
            image=seen.image,
            is_full=seen.is_full,
            latent=run.variables.prior.variables[0].value.detach(),
            noise=tuple(noise.detach() for noise in run.variables.noise),
        )


def _planned(config: SearchConfig) -> int:
    """Evaluations for each solution: its own steps, the last one's result, and the trials of the other starts."""
    trials, left = 0, config.candidates
    while left > 1:
        trials += (left - 1) * config.trial_steps
        left //= 2
    return config.steps + 1 + trials

"""The search: problem -> batches -> runs -> solutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..defaults import own_defaults
from ..degradations import Degradation
from ..devices.device import empty_cache, exact_float32
from ..generators import Generator
from ..latents.gaussian import LatentGaussian
from ..pictures.arrays import ArrayLike, as_tensors
from .batches import batch_size_on, batches, found_in_parts
from .config import SearchConfig
from .problem import Problem
from .run import Run
from .solution import Job, OnStep, Solution, ranking
from .stepper import Stepper

if TYPE_CHECKING:
    from ..latents.latent import Latent


@own_defaults
def search(
    generator: Generator,
    target: ArrayLike | Sequence[ArrayLike],
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
            alpha is laid on white. Also PIL images and numpy arrays, as in `upscale`.
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
        SettingError: a wrong number of seeds or degradations, a fit of another W or one that lacks the glasses
            that the settings ask for, an init_latent of another generator, or settings that lead to no finite image.
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


@own_defaults
def iter_search(
    generator: Generator,
    target: ArrayLike | Sequence[ArrayLike],
    gaussian: LatentGaussian,
    config: SearchConfig | None = None,
    *,
    seed: int | Sequence[int] = 0,
    degradation: Degradation | Sequence[Degradation | None] | None = None,
    init_latent: Latent | None = None,
    on_step: OnStep | None = None,
    make_room: Callable[[], None] = empty_cache,
) -> Iterator[Solution]:
    """As `search`, one solution at a time, so that not all are in memory at once.

    Those of an image follow each other, in the order of its seeds. The images are in their order where one is searched
    at a time; otherwise those of one size come together.

    Args:
        make_room: called when memory runs out, before the batch is tried in halves; frees what others hold.
    """
    problem = Problem.of(
        generator, as_tensors(target), gaussian, config or SearchConfig(), seed, degradation, init_latent
    )
    searches = _Searches(problem, on_step)
    at_a_time = batch_size_on(generator, problem.config, len(problem.jobs))
    for batch in batches(problem.jobs, problem.kinds, at_a_time):
        for solution in found_in_parts(batch, searches.find, make_room):
            searches.done += 1
            yield solution


class _Searches:
    """Searches batch by batch, and keeps the captured evaluations of the last run for the next one of its kind."""

    def __init__(self, problem: Problem, on_step: OnStep | None):
        self._problem, self._on_step = problem, on_step
        self.done = 0
        self._last: tuple[Any, Run] | None = None

    def find(self, batch: tuple[Job, ...], *, short: bool) -> list[Solution]:
        """See batches.Find."""
        problem, config = self._problem, self._problem.config
        recompute = config.gradient_checkpointing == "always" or (short and config.gradient_checkpointing == "auto")
        kind = (problem.targets[batch[0].index].shape, problem.operators(batch), recompute)
        last = self._last[1] if self._last is not None and self._last[0] == kind else None
        self._last = None  # not held where memory runs out
        y, a, init = problem.batch(batch)
        stepper = Stepper(config, self._on_step, self.done, len(problem.jobs))
        common = (problem.generator, y, problem.gaussian, config, a, batch)
        with exact_float32():
            runs = [Run(*common, candidate, init, recompute=recompute) for candidate in range(config.candidates)]
            run = stepper.best_candidate(runs)
            if last is not None:
                last.take_over(run)
                run = last
            stepper.advance(run)
            if config.candidates == 1:
                self._last = (kind, run)
            return run.solutions()

"""One batch of searches: init, steps, best iterate, solutions.

init          variables.py    w and n under their priors (priors.py)
evaluate      evaluation.py   A(G(w, n)) at full or low resolution (low_resolution.py), objective (objective.py)
best so far   best.py
move          optimizers.py, schedules.py
terminate     termination.py
postprocess   postprocess.py  the residual goes into the picture (residual.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..degradations import Degradation
from ..degradations.per_image import operator_of
from ..generators import Generator
from ..latents.gaussian import LatentGaussian
from .best import Best
from .config import SearchConfig
from .evaluation import Evaluator
from .low_resolution import LowResolution, Plan
from .objective import Objective
from .optimizers import SphericalOptimizer
from .postprocess import solution_of
from .schedules import SCHEDULES
from .solution import Job, Solution
from .termination import Termination
from .variables import init_variables
from .weights import pixel_weights

if TYPE_CHECKING:
    from ..latents.latent import Latent


class Evaluation(NamedTuple):
    """What one step computed: [B] each; objective is what is minimised at this step.

    image: [B, C, H, W] in 0..1, the last one at full resolution. l2: its error; at low resolution an estimate.
    is_full: whether this step rendered at full resolution.
    """

    terms: dict[str, Tensor]
    objective: Tensor
    l2: Tensor
    image: Tensor
    is_full: bool


class Run:
    """A batch of jobs under way; several runs may take turns.

    Its tensors stay at fixed addresses, so that its evaluations can be captured (captured.py) and serve the next batch
    (`take_over`).

    Args:
        target: [B, C, h, w], projected onto the range of the degradation.
        candidate: which initialisation of each job this is; see init_variables.
        init_latent: the latents that candidate 0 begins with; None leaves it to the settings.
        recompute: computes the generator's layers again for the gradient instead of keeping them.
    """

    def __init__(
        self,
        generator: Generator,
        target: Tensor,
        gaussian: LatentGaussian,
        config: SearchConfig,
        degradation: Degradation,
        jobs: tuple[Job, ...],
        candidate: int = 0,
        init_latent: Latent | None = None,
        *,
        recompute: bool = False,
    ):
        self.target, self.config, self.jobs = target.contiguous(), config, jobs
        self.degradation, self.gaussian = degradation, gaussian
        noise_variance = degradation.noise_variance(target)
        self.variables = init_variables(generator, gaussian, config, self.target, jobs, candidate, init_latent)
        has_density = self.variables.prior.has_density
        self.weights = pixel_weights(generator, target, degradation, config, has_density=has_density)
        self.objective = Objective(config, self.variables, self.target, self.weights, noise_variance)
        self.termination = Termination(config, self.target, self.weights.convergence, noise_variance)
        self.low = LowResolution(generator, gaussian, degradation, self.target)
        self.evaluator = Evaluator(
            generator,
            degradation,
            self.variables,
            self.objective,
            self.termination,
            self.low,
            recompute=recompute,
        )
        self._reset()

    def _reset(self) -> None:
        """To step 0, with no iterate seen yet."""
        self.step = 0
        self.optimizer = SphericalOptimizer(self.config.optimizer, self.variables.all, self.config.learning_rate)
        self.best = Best(len(self.jobs), self.target)
        self._image = self.target
        self._last_objective = self.target.new_full((1,), torch.inf)
        self._gradients: tuple[Tensor | None, ...] = ()

    def take_over(self, other: Run) -> None:
        """Becomes another run that is at step 0, of the same shapes and settings, and keeps what was captured."""
        self.jobs = other.jobs
        with torch.no_grad():
            for own, new in zip(self._tensors(), other._tensors(), strict=True):
                own.copy_(new)
        self.low.restart()
        self._reset()

    def _tensors(self) -> list[Tensor]:
        """All tensors that belong to the jobs."""
        parts = (self.variables, self.weights, self.objective, self.termination)
        return [self.target, *(tensor for part in parts for tensor in part.tensors())]

    @property
    def learning_rate(self) -> float:
        """Of the coming step."""
        config = self.config
        return config.learning_rate * SCHEDULES[config.schedule](self.step, max(config.steps, 1))

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.termination.is_last(self.step)

    @property
    def mean_objective(self) -> float:
        """Of the last evaluation; the CPU waits for it."""
        return float(self._last_objective.mean())

    def evaluate(self, *, gradient: bool) -> Evaluation:
        """Evaluates the current iterate, and keeps it where it is the best so far.

        Args:
            gradient: also prepares `move`.
        """
        self.objective.set_step(self.step)
        plan = self.low.plan(self.step, self.config.steps, self.config.full_every) if gradient else Plan.FULL
        full = None if plan is Plan.LOW else self.evaluator.full(gradient=gradient and plan is Plan.FULL)
        if full is not None:
            assert full.image is not None
            self._image = full.image
            score = self.objective.at_the_end(full.data, full.penalty)
            found = self.termination.within(full.error)
            self.best.offer(self.step, score, full.error, found, full.image, full.ws, self.variables.noise)
        outcome = full if full is not None and plan is Plan.FULL else self.evaluator.low(full)
        self._gradients, self._last_objective = outcome.gradients, outcome.objective
        l2 = outcome.error if full is None else full.error
        return Evaluation(outcome.terms, outcome.objective, l2, self._image, full is not None)

    def move(self) -> None:
        """One step along the gradient of the last evaluation."""
        self.optimizer.step(self._gradients, self.learning_rate, self.step / self.config.steps)
        self.step += 1

    def solutions(self) -> list[Solution]:
        """The solution of each job."""
        shared = (self.gaussian, self.weights, self.termination, self.config, self.step)
        return [
            solution_of(row, job, self.best, self.target, operator_of(self.degradation, row), *shared)
            for row, job in enumerate(self.jobs)
        ]

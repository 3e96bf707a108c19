"""One batch of searches: its variables, its steps, and the best iterate of each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..degradations import Degradation
from ..errors import SettingError
from ..generators import Generator
from ..latents.gaussian import LatentGaussian
from ..latents.spaces import SEEDS, draw_noise, layer_numbers
from ..pictures.images import to_picture
from .best import Best
from .captured import Captured, recorders
from .config import SearchConfig
from .losses import CAUCHY_SCALE, LossInputs, mean_squared_error, parse_loss
from .low_resolution import LowResolution
from .optimizers import SphericalOptimizer
from .priors import PRIORS, STAGES, SquaredDistance, Variable, Walk
from .residual import complete
from .schedules import SCHEDULES
from .solution import Job, Solution
from .weights import TAIL_AROUND, face_map, weight_map

if TYPE_CHECKING:
    from ..latents.latent import Latent

_ANNEALED = 0.7  # the share of the steps in which sigma falls
_NOISE_RATE = 0.3  # of the noise maps under a prior, times the learning rate of the latents
_NOISE_PRIOR = 0.3  # what the noise maps' prior counts: less than 1, as a map's scale is not known well
_APART = 2**32  # between the seeds of a job's candidates


class Evaluation(NamedTuple):
    """What one step saw: [B] each; objective is what is minimised at this step.

    shown: [B, C, H, W] in 0..1, the last full picture. l2: its own; at low resolution an estimate.
    is_full: whether the full picture was rendered at this step.
    """

    terms: dict[str, Tensor]
    objective: Tensor
    l2: Tensor
    shown: Tensor
    is_full: bool


class _Outcome(NamedTuple):
    """What a full or a low-resolution evaluation gives; shown is of a full one, gradients where they were asked for."""

    ws: Tensor
    measured: Tensor
    terms: dict[str, Tensor]
    data: Tensor
    penalty: Tensor
    objective: Tensor
    l2: Tensor
    shown: Tensor | None
    gradients: tuple[Tensor | None, ...]


class Run:
    """A batch of jobs on its way; several may wait while others step.

    Its tensors stay where they are, so that its evaluations can be captured (captured.py), and serve the next batch
    (`take_over`).

    Attributes:
        captures: whether it does so.

    Args:
        target: [B, C, h, w], as the degradation would show it.
        candidate: which start of each job this is; 0 begins as the settings say, others at random.
        init_latent: the latents that candidate 0 begins with; None: as the settings say.
        recompute: the generator's layers, for the gradient.
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
        self.recompute = recompute
        self.generator, self.target, self.config, self.jobs = generator, target.contiguous(), config, jobs
        self.degradation, self.gaussian, self.loss = degradation, gaussian, parse_loss(config.loss)
        trust = degradation.weight_map(target)
        self.trust = None if trust is None else trust.contiguous()
        self.noise_variance = degradation.noise_variance(target)
        self.tolerance = self.noise_variance.clamp(min=config.eps)
        self.walk, self.noise = self._begin(candidate, init_latent if candidate == 0 else None)
        self.face = face_map(generator, target)
        self.weight, self.judged = self.trust, self.trust  # of the loss, and of what counts as found
        if self.walk.is_density:
            self.weight = weight_map(self.face, config.background_weight, self.trust)
            self.judged = weight_map(self.face, 0.0, self.trust) if config.background_weight < 1 else self.trust
        self.tail = TAIL_AROUND + (CAUCHY_SCALE - TAIL_AROUND) * self.face
        self._moving = self._moving_noise()
        self._drawn = [variable.value.detach().clone() for variable in self._moving]
        self._likelihoods = self._schedule()
        self._likelihood = self._likelihoods[0].clone()  # of the step, where a captured evaluation reads it
        self.low = LowResolution(generator, gaussian, degradation, self.target)
        can_capture = generator.synthesis.can_capture and not recompute
        self._new_recorder = recorders(target.device) if can_capture else None
        self.captures = True
        self._programs: dict[tuple[Any, ...], Captured[_Outcome]] = {}
        self._set_out()

    def _set_out(self) -> None:
        """At step 0, with nothing found yet."""
        config = self.config
        self.step = 0
        self.optimizer = SphericalOptimizer(config.optimizer, self.walk.variables + self._moving, config.learning_rate)
        self.best = Best(len(self.jobs), self.target)
        self._shown = self.target
        self._objective = self.target.new_full((1,), torch.inf)
        self._gradients: tuple[Tensor | None, ...] = ()

    def take_over(self, other: Run) -> None:
        """Becomes another run that has not begun, of the same shapes and settings, and keeps what it captured."""
        self.jobs = other.jobs
        with torch.no_grad():
            for own, new in zip(self._tensors(), other._tensors(), strict=True):
                own.copy_(new)
        self.low.restart()
        self._set_out()

    def _tensors(self) -> list[Tensor]:
        """All that belongs to the jobs."""
        maps = (self.trust, self.weight, self.judged)
        own = [self.target, self.noise_variance, self.tolerance, self._likelihoods, *self.walk.tensors(), *self.noise]
        return [*own, *self._drawn, *(each for each in maps if each is not None)]

    def _begin(self, candidate: int, init_latent: Latent | None) -> tuple[Walk, list[Tensor]]:
        """Latents and noise of each job: the given ones, or from its own random generator."""
        config, num_ws = self.config, self.generator.num_ws
        walk = PRIORS[config.prior](
            self.gaussian, num_ws, config.latent_space, self._offset_std(), config.prior_sample_scale
        )
        if init_latent is not None:
            walk.begin_at(init_latent.ws)
            return walk, self._kept_noise(init_latent)
        randoms = [torch.Generator().manual_seed((job.seed + candidate * _APART) % SEEDS) for job in self.jobs]
        guesses = self.gaussian.encoder if candidate == 0 and config.init == "encoder" else None
        walk.begin(randoms, None if guesses is None else guesses.guess(self.target))
        maps = [draw_noise(random, self.generator.noise_shapes, self._zero_layers()) for random in randoms]
        return walk, [torch.stack(layer).to(self.target) for layer in zip(*maps, strict=True)]

    def _kept_noise(self, init_latent: Latent) -> list[Tensor]:
        """The latents' own maps, or the generator's where they have none: their image is where the search begins."""
        if self.config.noise == "zero":
            return [self.target.new_zeros(len(self.jobs), 1, *shape) for shape in self.generator.noise_shapes]
        maps = init_latent.noise or self.generator.synthesis.const_noise()
        return [noise.expand(len(self.jobs), -1, -1, -1).clone() for noise in maps]

    def _offset_std(self) -> Tensor:
        """[num_ws, 1]: of each layer's style; less for finer ones, whose details the target does not show."""
        sides = self.target.new_tensor(self.generator.style_sides)
        return self.config.offset_std * (max(self.target.shape[-2:]) / sides).clamp(max=1)[:, None]

    def _zero_layers(self) -> set[int]:
        layers = len(self.generator.noise_shapes)
        return layer_numbers(range(layers) if self.config.noise == "zero" else self.config.zero_noise_layers, layers)

    def _moving_noise(self) -> list[Variable]:
        searched = min(self.config.trainable_noise_layers, len(self.noise)) if self.config.noise == "trainable" else 0
        opens = STAGES[1] if self.config.latent_space == "staged" else 0.0
        moving = [self.noise[layer] for layer in range(searched) if layer not in self._zero_layers()]
        rate = _NOISE_RATE if self.walk.is_density else 1.0
        return [
            Variable(noise.requires_grad_(), on_sphere=not self.walk.is_density, rate=rate, opens=opens)
            for noise in moving
        ]

    @property
    def learning_rate(self) -> float:
        """Of the coming step."""
        config = self.config
        return config.learning_rate * SCHEDULES[config.schedule](self.step, max(config.steps, 1))

    @property
    def finished(self) -> bool:
        """All steps are taken."""
        return self.step >= self.config.steps

    @property
    def objective(self) -> float:
        """The mean of the last one; the CPU waits for it."""
        return float(self._objective.mean())

    def evaluate(self, *, gradient: bool) -> Evaluation:
        """Renders and measures where the variables are, and remembers what is better than before.

        Args:
            gradient: also prepares `move`.
        """
        config = self.config
        low = gradient and config.full_every > 1 and self.low.is_worth_it
        changed = low and self.low.choose(self.step / config.steps)
        full = changed or not low or self.step % config.full_every == 0
        self._likelihood.copy_(self._likelihoods[self.step])
        seen = None
        if full:
            seen = outcome = self._captured("full", gradient and not low)
            assert seen.shown is not None
            self._shown = seen.shown
            score = self._likelihoods[-1] * seen.data + seen.penalty  # at the last sigma, to compare steps by
            found = seen.l2 <= self.tolerance
            self.best.offer(self.step, score, seen.l2, found, seen.shown, seen.ws, self.noise)
        if low:
            with self.low.anchored(seen.measured if seen is not None else None):
                outcome = self._captured("low", self.low.side)
        self._gradients, self._objective = outcome.gradients, outcome.objective
        l2 = outcome.l2 if seen is None else seen.l2
        return Evaluation(outcome.terms, outcome.objective, l2, self._shown, full)

    def _captured(self, kind: str, detail: Any) -> _Outcome:
        """The evaluation of a kind, captured for each detail."""
        if (kind, detail) not in self._programs:
            function = {"full": Run._full, "low": Run._low}[kind]
            self._programs[kind, detail] = Captured(function, self.target.device)
        return self._programs[kind, detail](self._new_recorder if self.captures else None, self, detail)

    def _full(self, gradient: bool) -> _Outcome:
        """Of the full picture."""
        with torch.set_grad_enabled(gradient), self.generator.synthesis.recomputing(self.recompute):
            ws = self.walk.ws()
            image = to_picture(self.generator.synthesis(ws, noise=self.noise))
            outcome = self._outcome(ws, self.degradation.forward(image), gradient)
        with torch.no_grad():
            shown = image.clamp(0, 1)  # what would be returned; out of range colours must not count as found
            l2 = mean_squared_error(self.degradation.forward(shown), self.target, self.judged)
        return outcome._replace(shown=shown, l2=l2)

    def _low(self, side: int) -> _Outcome:
        """Of the small picture that `low` has chosen, of this side, with its gradient."""
        with torch.enable_grad():
            ws = self.walk.ws()
            return self._outcome(ws, self.low.forward(ws, self.noise), True)

    def _outcome(self, ws: Tensor, measured: Tensor, gradient: bool) -> _Outcome:
        inputs = LossInputs(measured, self.target, ws, self.config.eps, self.weight, self.noise_variance, self.tail)
        terms = self.loss.terms(inputs)
        data, penalty = self.loss.total(terms), self.walk.penalty() + self._noise_penalty()
        objective = self._likelihood * data + penalty
        gradients: tuple[Tensor | None, ...] = ()
        if gradient:
            gradients = torch.autograd.grad(objective.sum(), self.optimizer.values, allow_unused=True)
        with torch.no_grad():
            l2 = mean_squared_error(measured, self.target, self.judged)
        terms = {name: term.detach() for name, term in terms.items()}
        numbers = (data.detach(), penalty.detach(), objective.detach())
        return _Outcome(ws.detach(), measured.detach(), terms, *numbers, l2, None, gradients)

    def _noise_penalty(self) -> Tensor:
        """[B]: minus the logarithm of the density of the noise maps about their draw.

        On spheres, as published, it is none: but there seven maps of up to 32x32 explain what is left of the target.
        """
        if not self.walk.is_density or not self._moving:
            return self.target.new_zeros(len(self.jobs))
        moving = [variable.value for variable in self._moving]
        apart: Tensor = SquaredDistance.apply(self._drawn, *moving)
        return _NOISE_PRIOR / 2 * apart

    def _schedule(self) -> Tensor:
        """[steps + 1, B]: what the loss counts against the prior at each step: N / (2 sigma^2) of N measured values.

        (A Gaussian likelihood.) 1 where the walk has no prior.
        """
        config = self.config
        if not self.walk.is_density:
            return self.target.new_ones(config.steps + 1, len(self.jobs))
        fallen = (torch.arange(config.steps + 1, dtype=torch.float64) / (_ANNEALED * max(config.steps, 1))).clamp(max=1)
        sigma = config.sigma_start * (config.sigma_reached / config.sigma_start) ** fallen
        variance = sigma.square().to(self.target.dtype).to(self.target.device)[:, None]
        return self.target[0].numel() / (2 * self.noise_variance.maximum(variance))

    def move(self) -> None:
        """One step down, along the gradient of the last evaluation."""
        self.optimizer.step(self._gradients, self.learning_rate, self.step / self.config.steps)
        self.step += 1

    def solutions(self) -> list[Solution]:
        """The best of each job."""
        return [self._solution(row) for row in range(len(self.jobs))]

    def _solution(self, row: int) -> Solution:
        job, best = self.jobs[row], self.best
        if best.step[row] < 0:
            raise SettingError(
                f"The search for image {job.index} with seed {job.seed} met no finite loss.",
                "settings that keep the image finite.",
                "lower the learning rate; if even the first step fails, the generator's weights are damaged.",
            )
        one = slice(row, row + 1)
        target, trust = self.target[one], None if self.trust is None else self.trust[one]
        done = complete(best.image[one], target, self.degradation, self.face, trust, self.config.fidelity)
        with torch.no_grad():
            downscaled = self.degradation.forward(done.picture)
            l2 = float(mean_squared_error(downscaled, target, trust))
        worst, worst_at = _worst(done.picture, target, self.degradation, trust)
        exact = worst <= 1 or self.config.fidelity < 1 or float(self.noise_variance[row]) > 0
        return Solution(
            index=job.index,
            seed=job.seed,
            image=done.picture[0],
            downscaled=downscaled[0],
            residual=done.residual[0],
            ws=best.ws[row].clone(),
            noise=tuple(noise[row].clone() for noise in best.noise),
            l2=l2,
            search_l2=float(best.l2[row]),
            worst=worst,
            worst_at=worst_at,
            residual_face=_rms(done.residual, weight_map(self.face, 0.0, trust)),
            residual_all=_rms(done.residual, trust),
            tolerance=float(self.tolerance[row]),
            converged=exact and bool(best.l2[row] <= self.tolerance[row]),
            distance=float(self.gaussian.distance(best.ws[row])),
            best_step=int(best.step[row]),
            steps=self.step,
        )


def _rms(residual: Tensor, weight: Tensor | None) -> float:
    return float(mean_squared_error(residual, torch.zeros_like(residual), weight)) ** 0.5


@torch.no_grad()
def _worst(
    picture: Tensor, target: Tensor, degradation: Degradation, trust: Tensor | None
) -> tuple[float, tuple[int, int]]:
    """The largest error of a pixel of the 8-bit picture's degradation, in 8-bit steps, and its (column, row)."""
    error = (degradation.forward((picture * 255).round() / 255) - target).abs()
    error = (error if trust is None else error * trust).amax(1)[0]
    place = int(error.argmax())
    return 255 * float(error.max()), (place % error.shape[1], place // error.shape[1])

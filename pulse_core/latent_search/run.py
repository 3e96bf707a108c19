"""One batch of searches: its variables, its steps, and the best iterate of each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..degradations import Degradation
from ..errors import SettingError
from ..gaussian import LatentGaussian
from ..generators import Generator
from ..images import to_picture
from ..latents import SEEDS, draw_noise, layer_numbers
from ..losses import CAUCHY_SCALE, LossInputs, mean_squared_error, parse_loss
from .best import Best
from .config import SearchConfig
from .low_resolution import LowResolution
from .optimizers import SphericalOptimizer
from .priors import PRIORS, STAGES, Variable, Walk
from .residual import complete
from .schedules import SCHEDULES
from .solution import Job, Solution
from .weights import TAIL_AROUND, face_map, weight_map

if TYPE_CHECKING:
    from ..saved_latents import Latent

_ANNEALED = 0.7  # the share of the steps in which sigma falls
_NOISE_RATE = 0.3  # of the noise maps under a prior, times the learning rate of the latents
_NOISE_PRIOR = 0.3  # what the noise maps' prior counts: less than 1, as a map's scale is not known well
_APART = 2**32  # between the seeds of a job's candidates


class Evaluation(NamedTuple):
    """What one step saw: [B] each; objective is what is minimised at this step.

    shown: [B, C, H, W] in 0..1, the last full picture. l2: its own; at low resolution an estimate.
    """

    terms: dict[str, Tensor]
    objective: Tensor
    l2: Tensor
    shown: Tensor


class Run:
    """A batch of jobs on its way; several may wait while others step.

    Args:
        target: [B, C, h, w], as the degradation would show it.
        candidate: which start of each job this is; 0 begins as the settings say, others at random.
        start: the latents that candidate 0 begins with; None: as the settings say.
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
        start: Latent | None = None,
        *,
        recompute: bool = False,
    ):
        self.recompute = recompute
        self.generator, self.target, self.config, self.jobs = generator, target, config, jobs
        self.degradation, self.gaussian, self.loss = degradation, gaussian, parse_loss(config.loss)
        self.trust = degradation.trust(target)
        self.noise_variance = degradation.noise_variance(target)
        self.enough = self.noise_variance.clamp(min=config.eps)
        self.step = 0
        self.walk, self.noise = self._begin(candidate, start if candidate == 0 else None)
        self.face = face_map(generator, target)
        self.weight, self.judged = self.trust, self.trust  # of the loss, and of what counts as found
        if self.walk.is_density:
            self.weight = weight_map(self.face, config.background_weight, self.trust)
            self.judged = weight_map(self.face, 0.0, self.trust) if config.background_weight < 1 else self.trust
        self.tail = TAIL_AROUND + (CAUCHY_SCALE - TAIL_AROUND) * self.face
        self._moving = self._moving_noise()
        self._drawn = [variable.value.detach().clone() for variable in self._moving]
        self.optimizer = SphericalOptimizer(config.optimizer, self.walk.variables + self._moving, config.learning_rate)
        self.best = Best(len(jobs), target)
        self.low = LowResolution(generator, degradation, (target.shape[-2], target.shape[-1]))
        self._shown = target
        self.objective = torch.tensor(torch.inf)  # the mean of the last one

    def _begin(self, candidate: int, start: Latent | None) -> tuple[Walk, list[Tensor]]:
        """Latents and noise of each job: the given ones, or from its own random generator."""
        config, num_ws = self.config, self.generator.num_ws
        walk = PRIORS[config.prior](
            self.gaussian, num_ws, config.latent_space, self._offset_std(), config.prior_sample_scale
        )
        if start is not None:
            walk.begin_at(start.ws)
            return walk, self._kept_noise(start)
        randoms = [torch.Generator().manual_seed((job.seed + candidate * _APART) % SEEDS) for job in self.jobs]
        guesses = self.gaussian.start if candidate == 0 and config.init == "encoder" else None
        walk.begin(randoms, None if guesses is None else guesses.guess(self.target))
        maps = [draw_noise(random, self.generator.noise_shapes, self._zero_layers()) for random in randoms]
        return walk, [torch.stack(layer).to(self.target) for layer in zip(*maps, strict=True)]

    def _kept_noise(self, start: Latent) -> list[Tensor]:
        """The latents' own maps, or the generator's where they have none: their image is where the search begins."""
        if self.config.noise == "zero":
            return [self.target.new_zeros(len(self.jobs), 1, *shape) for shape in self.generator.noise_shapes]
        maps = start.noise or self.generator.synthesis.const_noise()
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

    def evaluate(self, *, gradient: bool) -> Evaluation:
        """Renders and measures where the variables are, and remembers what is better than before."""
        config = self.config
        low = gradient and config.full_every > 1 and self.low.is_worth_it
        changed = low and self.low.choose(self.step / config.steps)
        full = changed or not low or self.step % config.full_every == 0
        with torch.set_grad_enabled(gradient):
            ws = self.walk.ws()
            if full:
                image, measured = self._full(ws, gradient=not low)
            if low:
                measured = self.low.measure(ws, self.noise, measured if full else None)
            terms = self.loss.terms(
                LossInputs(measured, self.target, ws, config.eps, self.weight, self.noise_variance, self.tail)
            )
            data, penalty = self.loss.total(terms), self.walk.penalty() + self._noise_penalty()
            objective = self._likelihood(self.step) * data + penalty
        with torch.no_grad():
            if full:
                self._shown = image.clamp(0, 1)  # what would be returned; out of range colours must not count as found
                l2 = mean_squared_error(self.degradation.measure(self._shown), self.target, self.judged)
                score = self._likelihood(config.steps) * data + penalty  # at the last sigma, to compare steps by
                self.best.offer(self.step, score, l2, l2 <= self.enough, self._shown, ws, self.noise)
            else:
                l2 = mean_squared_error(measured, self.target, self.judged)
        self.objective = objective.detach().mean()
        return Evaluation(terms, objective, l2, self._shown)

    def _full(self, ws: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor]:
        """The picture [B, C, H, W], about 0..1, and its measurement."""
        with torch.set_grad_enabled(gradient), self.generator.synthesis.recomputing(self.recompute):
            image = to_picture(self.generator.synthesis(ws, noise=self.noise))
            return image, self.degradation.measure(image)

    def _noise_penalty(self) -> Tensor:
        """[B]: minus the logarithm of the density of the noise maps about their draw.

        On spheres, as published, it is none: but there seven maps of up to 32x32 explain what is left of the target.
        """
        total = self.target.new_zeros(len(self.jobs))
        if not self.walk.is_density:
            return total
        for variable, drawn in zip(self._moving, self._drawn, strict=True):
            total = total + (variable.value - drawn).square().flatten(1).sum(1)
        return _NOISE_PRIOR / 2 * total

    def _likelihood(self, step: int) -> Tensor | float:
        """[B]: what the loss counts against the prior: N / (2 sigma^2) of N measured values (a Gaussian likelihood)."""
        config = self.config
        if not self.walk.is_density:
            return 1.0
        fallen = min(1.0, step / (_ANNEALED * max(config.steps, 1)))
        sigma = config.sigma_start * (config.sigma_end / config.sigma_start) ** fallen
        return self.target[0].numel() / (2 * self.noise_variance.clamp(min=sigma**2))

    def move(self, objective: Tensor) -> None:
        """One step down."""
        with self.generator.synthesis.recomputing(self.recompute):
            gradients = torch.autograd.grad(objective.sum(), self.optimizer.values, allow_unused=True)
        self.optimizer.step(gradients, self.learning_rate, self.step / self.config.steps)
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
        done = complete(best.image[one], target, self.degradation, self.face, trust, self.config.consistency)
        with torch.no_grad():
            downscaled = self.degradation.measure(done.picture)
            l2 = float(mean_squared_error(downscaled, target, trust))
        worst, worst_at = _worst(done.picture, target, self.degradation, trust)
        exact = worst <= 1 or self.config.consistency < 1 or float(self.noise_variance[row]) > 0
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
            enough=float(self.enough[row]),
            converged=exact and bool(best.l2[row] <= self.enough[row]),
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
    error = (degradation.measure((picture * 255).round() / 255) - target).abs()
    error = (error if trust is None else error * trust).amax(1)[0]
    place = int(error.argmax())
    return 255 * float(error.max()), (place % error.shape[1], place // error.shape[1])

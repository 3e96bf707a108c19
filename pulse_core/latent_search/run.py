"""One batch of searches: its variables, its steps, and the best iterate of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..degradations import Degradation
from ..errors import SettingError
from ..gaussian import LatentGaussian
from ..generators import Generator
from ..images import to_picture
from ..latents import SEEDS, draw_noise, layer_numbers
from ..losses import LossInputs, mean_squared_error, parse_loss
from .coarse import CoarseLook
from .config import SearchConfig
from .consistency import correct
from .optimizers import SphericalOptimizer
from .priors import PRIORS, STAGES, Variable, Walk
from .schedules import HOLD, SCHEDULES
from .solution import Job, Solution

if TYPE_CHECKING:
    from ..saved_latents import Latent

_ANNEALED = 0.7  # the share of the steps in which the tolerance falls
_COARSE = 0.8  # the share of the steps in which coarse looks will do
_APART = 2**32  # between the seeds of a job's candidates


class Evaluation(NamedTuple):
    """What one step saw: [B] each; objective is what is minimised at this step.

    shown: [B, C, H, W] in 0..1, of the last whole look. l2: its own; of a coarse look an estimate.
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
        variables = self.walk.variables + self._moving_noise()
        self.optimizer = SphericalOptimizer(config.optimizer, variables, config.learning_rate)
        self.best = _Best(len(jobs), target)
        self.coarse = CoarseLook(generator, degradation, (target.shape[-2], target.shape[-1]))
        self._shown, self._penalties = target, list[Tensor]()
        self.objective = torch.tensor(torch.inf)  # the mean of the last one

    def _begin(self, candidate: int, start: Latent | None) -> tuple[Walk, list[Tensor]]:
        """Latents and noise of each job: the given ones, or from its own random generator."""
        config, num_ws = self.config, self.generator.num_ws
        walk = PRIORS[config.prior](self.gaussian, num_ws, config.latent_space, self._freedom(), config.variety)
        if start is not None:
            walk.begin_at(start.ws)
            return walk, self._kept_noise(start)
        randoms = [torch.Generator().manual_seed((job.seed + candidate * _APART) % SEEDS) for job in self.jobs]
        guesses = self.gaussian.start if candidate == 0 and config.beginning == "guess" else None
        walk.begin(randoms, None if guesses is None else guesses.guess(self.target))
        maps = [draw_noise(random, self.generator.noise_shapes, self._zero_layers()) for random in randoms]
        return walk, [torch.stack(layer).to(self.target) for layer in zip(*maps, strict=True)]

    def _kept_noise(self, start: Latent) -> list[Tensor]:
        """The latents' own maps, or the generator's where they have none: their image is where the search begins."""
        if self.config.noise == "zero":
            return [self.target.new_zeros(len(self.jobs), 1, *shape) for shape in self.generator.noise_shapes]
        maps = start.noise or self.generator.synthesis.const_noise()
        return [noise.expand(len(self.jobs), -1, -1, -1).clone() for noise in maps]

    def _freedom(self) -> Tensor:
        """[num_ws, 1]: of each layer's style; less for finer ones, whose details the target does not show."""
        sides = self.target.new_tensor(self.generator.style_sides)
        seen = (max(self.target.shape[-2:]) / sides).clamp(max=1) ** self.config.fine_falloff
        return self.config.layer_freedom * seen[:, None]

    def _zero_layers(self) -> set[int]:
        layers = len(self.generator.noise_shapes)
        return layer_numbers(range(layers) if self.config.noise == "zero" else self.config.zero_noise_layers, layers)

    def _moving_noise(self) -> list[Variable]:
        searched = min(self.config.trainable_noise_layers, len(self.noise)) if self.config.noise == "trainable" else 0
        opens = STAGES[1] if self.config.latent_space == "staged" else 0.0
        moving = [self.noise[layer] for layer in range(searched) if layer not in self._zero_layers()]
        rate, tolerance, share = self.config.noise_rate, self.config.last_tolerance, None
        if self.walk.is_density:  # the maps would draw the noise of a noisy target first
            share = (tolerance / self.noise_variance.sqrt().clamp(min=tolerance)).sqrt()
        return [Variable(noise.requires_grad_(), rate=rate, opens=opens, share=share) for noise in moving]

    @property
    def learning_rate(self) -> float:
        """Of the coming step."""
        config = self.config
        return config.learning_rate * SCHEDULES[config.schedule](self._place(), config.steps)

    @property
    def finished(self) -> bool:
        """All steps are taken, or every image is found and its prior has settled, or all planned ones are taken."""
        if self.step < self.config.steps:
            return self._settled and self._found
        return self.step >= self.config.most_steps or self._found

    @property
    def _found(self) -> bool:
        return bool((self.best.l2 <= self.enough).all())

    @property
    def _settled(self) -> bool:
        """Whether a tenth of the steps changed the prior of no image by more than a little."""
        back = math.ceil(self.config.steps / 10)
        if not self.config.settled or self.step < _ANNEALED * self.config.steps or self.step < back:
            return False
        before, now = self._penalties[self.step - back], self._penalties[self.step]
        return bool(((now - before).abs() <= self.config.settled * now.abs()).all())

    def _place(self) -> int:
        """Where the schedules are: beyond the planned steps they fall once more, over all that may follow."""
        steps, hold = self.config.steps, int(HOLD * self.config.steps)
        if self.step <= steps:
            return self.step
        return hold + (self.step - steps) * (steps - hold) // (self.config.most_steps - steps)

    def evaluate(self, *, gradient: bool) -> Evaluation:
        """Renders and measures where the variables are, and remembers what is better than before."""
        config, coarse = self.config, gradient and self._may_be_coarse()
        whole = not coarse or self.step % config.whole_every == 0
        with torch.set_grad_enabled(gradient):
            ws = self.walk.ws()
            if whole:
                image, measured = self._whole_look(ws, gradient=not coarse)
            if coarse:
                measured = self.coarse.measure(ws, self.noise, measured if whole else None)
            terms = self.loss.terms(LossInputs(measured, self.target, ws, config.eps, self.trust))
            data, penalty = self.loss.total(terms), self.walk.penalty()
            objective = self._weight(self._place()) * data + penalty
        with torch.no_grad():
            if whole:
                self._shown = image.clamp(0, 1)  # what would be returned; out of range colours must not count as found
                l2 = mean_squared_error(self.degradation.measure(self._shown), self.target, self.trust)
                score = self._weight(config.steps) * data + penalty  # at the last tolerance, to compare steps by
                self.best.offer(self.step, score, l2, l2 <= self.enough, self._shown, ws, self.noise)
            else:
                l2 = mean_squared_error(measured, self.target, self.trust)
        self._penalties.append(penalty.detach())
        self.objective = objective.detach().mean()
        return Evaluation(terms, objective, l2, self._shown)

    def _may_be_coarse(self) -> bool:
        config = self.config
        return config.whole_every > 1 and self._place() < _COARSE * config.steps and self.coarse.is_worth_it

    def _whole_look(self, ws: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor]:
        """The picture [B, C, H, W], about 0..1, and its measurement."""
        with torch.set_grad_enabled(gradient), self.generator.synthesis.recomputing(self.recompute):
            image = to_picture(self.generator.synthesis(ws, noise=self.noise))
            return image, self.degradation.measure(image)

    def _weight(self, place: int) -> Tensor | float:
        """[B]: what the loss counts against the prior: N / (2 sigma^2) of N measured values (a Gaussian likelihood)."""
        config = self.config
        if not self.walk.is_density:
            return 1.0
        fallen = min(1.0, place / (_ANNEALED * config.steps))
        sigma = config.first_tolerance * (config.last_tolerance / config.first_tolerance) ** fallen
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
        image, target = best.image[row : row + 1].clone(), self.target[row : row + 1]
        trust = None if self.trust is None else self.trust[row : row + 1]
        if self.config.consistency > 0:
            image = correct(image, target, self.degradation, self.config.consistency, trust)
        with torch.no_grad():
            downscaled = self.degradation.measure(image)
            l2 = float(mean_squared_error(downscaled, target, trust))
        search_l2 = float(best.l2[row])
        return Solution(
            index=job.index,
            seed=job.seed,
            image=image[0],
            downscaled=downscaled[0],
            ws=best.ws[row].clone(),
            noise=tuple(noise[row].clone() for noise in best.noise),
            l2=l2,
            search_l2=search_l2,
            enough=float(self.enough[row]),
            converged=bool(best.l2[row] <= self.enough[row]),
            distance=float(self.gaussian.distance(best.ws[row])),
            best_step=int(best.step[row]),
            steps=self.step,
        )


class _Best:
    """The best iterate of each image so far: within eps before outside, then the smaller score."""

    def __init__(self, images: int, like: Tensor):
        self.step = torch.full((images,), -1)
        self.l2 = like.new_full((images,), torch.inf)
        self._score = like.new_full((images,), torch.inf)
        self._found = torch.zeros(images, dtype=torch.bool, device=like.device)
        self.image = self.ws = like.new_empty(0)
        self.noise: list[Tensor] = []

    def offer(
        self, step: int, score: Tensor, l2: Tensor, found: Tensor, image: Tensor, ws: Tensor, noise: Sequence[Tensor]
    ) -> None:
        """Keeps what is better. A score that is not finite never is."""
        sooner = (found & ~self._found) | ((found == self._found) & (score < self._score))
        rows = (sooner & score.isfinite()).nonzero().flatten().tolist()
        if not rows:
            return
        if self.image.numel() == 0:
            self.image, self.ws, self.noise = image.clone(), ws.clone(), [n.detach().clone() for n in noise]
        kept_new = ((self.l2, l2), (self._score, score), (self._found, found), (self.image, image), (self.ws, ws))
        for kept, new in (*kept_new, *zip(self.noise, noise, strict=True)):
            for row in rows:
                kept[row] = new[row]
        self.step[rows] = step

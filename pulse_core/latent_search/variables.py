"""The variables of a batch of searches: latents w under their prior, and noise maps n.

Both are drawn on the CPU in float32, from one torch.Generator per image, so that every device draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..generators import Generator
from ..latents.attributes import Mode
from ..latents.gaussian import LatentGaussian
from ..latents.spaces import SEEDS, draw_noise, resolve_layers
from .config import SearchConfig
from .priors import PRIORS, STAGES, Prior, Variable
from .solution import Job

if TYPE_CHECKING:
    from ..latents.latent import Latent

NOISE_RATE = 0.3  # learning rate of noise maps with a prior, relative to that of the latents
NOISE_PRECISION = 0.3  # of the noise maps' prior: below 1, as a map's scale is not known well (bench/TRIED.md)
CANDIDATE_STRIDE = 2**32  # between the seeds of a job's candidates


@dataclass(frozen=True)
class Variables:
    """Where a batch of searches is: w and n.

    prior: holds the latents, and gives ws and their negative log-density.
    noise: one map [B, 1, H, W] a layer, trainable or not.
    trainable_noise: those of them that are searched. noise_means: the means of their prior, as they were drawn.
    """

    prior: Prior
    noise: list[Tensor]
    trainable_noise: list[Variable]
    noise_means: list[Tensor]

    @property
    def all(self) -> list[Variable]:
        """What the optimiser moves, the latents first."""
        return self.prior.variables + self.trainable_noise

    def penalty(self) -> Tensor:
        """[B]: the negative log-density of w and n, up to a constant."""
        return self.prior.negative_log_density() + self._noise_penalty()

    def _noise_penalty(self) -> Tensor:
        """[B]. On spheres, as published, there is none; but there seven maps of up to 32x32 explain the residual."""
        if not self.prior.has_density or not self.trainable_noise:
            latents = self.prior.variables[0].value
            return latents.new_zeros(len(latents))
        maps = [variable.value for variable in self.trainable_noise]
        squares: Tensor = _SquaredDistance.apply(self.noise_means, *maps)
        return NOISE_PRECISION / 2 * squares

    def tensors(self) -> list[Tensor]:
        """All tensors that belong to these searches."""
        return [*self.prior.tensors(), *self.noise, *self.noise_means]


def init_variables(
    generator: Generator,
    gaussian: LatentGaussian,
    config: SearchConfig,
    target: Tensor,
    jobs: Sequence[Job],
    candidate: int = 0,
    init_latent: Latent | None = None,
) -> Variables:
    """The variables at step 0.

    Args:
        target: [B, C, h, w], one for each job.
        candidate: 0 is initialised as the settings say, others at random.
        init_latent: initialises candidate 0; None leaves it to the settings.
    """
    offset_std = _offset_std(generator, target, config)
    prior = PRIORS[config.prior](gaussian, generator.num_ws, config.latent_space, offset_std, config.prior_sample_scale)
    if init_latent is not None and candidate == 0:
        prior.init_from(init_latent.ws)
        noise = _given_noise(generator, config, target, init_latent)
    else:
        randoms = [torch.Generator().manual_seed((job.seed + candidate * CANDIDATE_STRIDE) % SEEDS) for job in jobs]
        encoder = gaussian.encoder if candidate == 0 and config.init == "encoder" else None
        mean = None if encoder is None else encoder.posterior_mean(target)
        prior.init_random(randoms, mean, _mode(gaussian, config))
        maps = [draw_noise(random, generator.noise_shapes, _zero_layers(generator, config)) for random in randoms]
        noise = [torch.stack(layer).to(target) for layer in zip(*maps, strict=True)]
    trainable = _trainable_noise(generator, config, noise, has_density=prior.has_density)
    return Variables(prior, noise, trainable, [variable.value.detach().clone() for variable in trainable])


def _mode(gaussian: LatentGaussian, config: SearchConfig) -> Mode | None:
    if gaussian.glasses is None or config.glasses == "auto":
        return None
    return gaussian.glasses.mode(gaussian.axes, present=config.glasses == "with")


def _given_noise(generator: Generator, config: SearchConfig, target: Tensor, init_latent: Latent) -> list[Tensor]:
    """The maps of init_latent, or the generator's own where it has none."""
    if config.noise == "zero":
        return [target.new_zeros(len(target), 1, *shape) for shape in generator.noise_shapes]
    maps = init_latent.noise or generator.synthesis.const_noise()
    return [noise.expand(len(target), -1, -1, -1).clone() for noise in maps]


def _trainable_noise(
    generator: Generator, config: SearchConfig, noise: Sequence[Tensor], *, has_density: bool
) -> list[Variable]:
    searched = min(config.trainable_noise_layers, len(noise)) if config.noise == "trainable" else 0
    opens = STAGES[1] if config.latent_space == "staged" else 0.0
    rate = NOISE_RATE if has_density else 1.0
    zero = _zero_layers(generator, config)
    return [
        Variable(noise[layer].requires_grad_(), on_sphere=not has_density, rate=rate, opens=opens)
        for layer in range(searched)
        if layer not in zero
    ]


def _zero_layers(generator: Generator, config: SearchConfig) -> set[int]:
    layers = len(generator.noise_shapes)
    return resolve_layers(range(layers) if config.noise == "zero" else config.zero_noise_layers, layers)


def _offset_std(generator: Generator, target: Tensor, config: SearchConfig) -> Tensor:
    """[num_ws, 1]: of each layer's offset; smaller for layers finer than the target, which does not show them."""
    sides = target.new_tensor(generator.style_sides)
    return config.offset_std * (max(target.shape[-2:]) / sides).clamp(max=1)[:, None]


class _SquaredDistance(torch.autograd.Function):
    """Sum of squared differences of each image's maps to their means: [B, 1, H, W] each -> [B].

    Takes few kernels however many maps there are.
    """

    @staticmethod
    def forward(ctx: Any, means: Sequence[Tensor], *maps: Tensor) -> Tensor:
        differences = torch.cat([(one - mean).flatten(1) for one, mean in zip(maps, means, strict=True)], 1)
        ctx.save_for_backward(differences)
        ctx.shapes = [each.shape for each in maps]
        return differences.square().sum(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (differences,) = ctx.saved_tensors
        gradients = (2 * grad[:, None] * differences).split([shape[1:].numel() for shape in ctx.shapes], 1)
        return None, *(each.view(shape) for each, shape in zip(gradients, ctx.shapes, strict=True))

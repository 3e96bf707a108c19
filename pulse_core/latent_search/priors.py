"""Priors over the latents: how w is parametrised, and how unlikely it is.

To add a prior: one class that keeps Prior's contract, and its place in PRIORS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..latents.attributes import Mode
from ..latents.gaussian import LatentGaussian
from ..latents.spaces import draw_latent

STAGES = (1 / 3, 2 / 3)  # of a staged search: from when offsets are searched too, and from when noise maps are


@dataclass(frozen=True)
class Variable:
    """A tensor that the optimiser moves.

    value: [B, L, ...], a leaf. on_sphere: each value[b, l] keeps the norm that it has at step 0.
    rate: relative to the learning rate. opens: the share of the steps for which it stays fixed.
    """

    value: Tensor
    on_sphere: bool = True
    rate: float = 1.0
    opens: float = 0.0


class Prior(ABC):
    """The latents of one batch of searches, and their prior.

    Args:
        gaussian: on the device and of the dtype of the search.
        num_ws: style vectors of the generator.
        space: one of LATENT_SPACES.
        offset_std: [num_ws, 1], of each layer's offset from the common style, in standard deviations of W.
        sample_scale: of the prior sample that the penalty is measured from, in standard deviations of W.

    Attributes:
        has_density: whether the likelihood is weighed against a negative log-density; otherwise only the
            parametrisation confines the latents.
    """

    name: ClassVar[str]
    has_density: ClassVar[bool] = True
    variables: list[Variable]

    def __init__(self, gaussian: LatentGaussian, num_ws: int, space: str, offset_std: Tensor, sample_scale: float):
        self.gaussian, self.num_ws, self.space = gaussian, num_ws, space
        self.offset_std, self.sample_scale = offset_std, sample_scale

    @abstractmethod
    def init_random(self, randoms: Sequence[torch.Generator], mean: Tensor | None, mode: Mode | None = None) -> None:
        """Draws the latents of each image from its own random generator.

        Args:
            mean: whitened latents [B, w_dim] of an encoder to begin at instead, for priors with a density.
            mode: that the property of a face, which is given, leaves of the prior; for `Whitened`.
        """

    @abstractmethod
    def init_from(self, ws: Tensor) -> None:
        """Begins at these style vectors [B, num_ws, w_dim], from which a density is then measured."""

    def tensors(self) -> list[Tensor]:
        """All tensors that belong to these searches, the variables first."""
        return [variable.value for variable in self.variables]

    @abstractmethod
    def ws(self) -> Tensor:
        """Style vectors [B, num_ws, w_dim], differentiable."""

    def negative_log_density(self) -> Tensor:
        """[B], up to a constant."""
        return self.variables[0].value.new_zeros(len(self.variables[0].value))


class Sphere(Prior):
    """As published: a standard normal latent for each layer, which keeps its norm (PULSE, section 3.2)."""

    name = "sphere"
    has_density = False

    def init_random(self, randoms: Sequence[torch.Generator], mean: Tensor | None, mode: Mode | None = None) -> None:
        w_dim = self.gaussian.mean.numel()
        drawn = [draw_latent(random, self.space, self.num_ws, w_dim) for random in randoms]
        self.variables = [Variable(torch.stack(drawn).to(self.gaussian.mean).requires_grad_())]

    def init_from(self, ws: Tensor) -> None:
        z = self.gaussian.from_ws(ws)
        z = z.mean(1, keepdim=True) if self.space == "W" else z
        self.variables = [Variable(z.clone().requires_grad_())]

    def ws(self) -> Tensor:
        return self.gaussian.to_ws(self.variables[0].value).expand(-1, self.num_ws, -1)


class Whitened(Prior):
    """A common style in the principal axes of W, and a small offset from it for each layer.

    w_l = colour(common + offset_std_l * offset_l), with common and offsets standard normal a priori: natural faces
    first, layers apart only as far as the target asks for it. The density of the common style is measured from a
    random sample of the prior instead of the mean face. The minimum is then close to a draw from the posterior
    (randomised maximum a posteriori; Wang, Bui-Thanh, Ghattas 2018), and another seed gives another face.
    """

    name = "whitened"
    mode: Mode | None = None

    def init_random(self, randoms: Sequence[torch.Generator], mean: Tensor | None, mode: Mode | None = None) -> None:
        w_dim = self.gaussian.mean.numel()
        drawn = torch.stack([torch.randn(1, w_dim, generator=random) for random in randoms])
        self.sample = self.sample_scale * drawn.to(self.gaussian.mean)
        self.mode = mode
        if mode is not None:
            self.sample = mode.sample(self.sample)
            mean = None if mean is None else mode.at_mean(mean)
        self._init(self.sample if mean is None else mean[:, None])

    def init_from(self, ws: Tensor) -> None:
        white = self.gaussian.whiten(ws)
        self.sample = white.mean(1, keepdim=True)
        self._init(self.sample, white - self.sample)

    def _init(self, common: Tensor, fixed_offsets: Tensor | None = None) -> None:
        """fixed_offsets: [B, num_ws, w_dim], added to every layer and not penalised."""
        self.fixed_offsets = fixed_offsets
        self.common = common.clone().requires_grad_()
        self.offsets = self.common.new_zeros(len(common), self.num_ws, common.shape[-1]).requires_grad_()
        self.variables = [Variable(self.common, on_sphere=False)]
        if self.space != "W":
            opens = STAGES[0] if self.space == "staged" else 0.0
            self.variables.append(Variable(self.offsets, on_sphere=False, opens=opens))

    def tensors(self) -> list[Tensor]:
        """See Prior."""
        tensors = (self.common, self.offsets, self.sample, self.fixed_offsets)
        return [each for each in tensors if each is not None]

    def ws(self) -> Tensor:
        white = self.common + self.offset_std * self.offsets
        return self.gaussian.colour(white if self.fixed_offsets is None else white + self.fixed_offsets)

    def negative_log_density(self) -> Tensor:
        return self._common_term() + self.offsets.square().flatten(1).sum(1) / 2

    def _common_term(self) -> Tensor:
        difference = self.common - self.sample
        if self.mode is not None:
            return self.mode.squared_distance(difference).sum(1) / 2
        return difference.square().flatten(1).sum(1) / 2


class Shell(Whitened):
    """As Whitened, but the common style is held to the shell of norm sqrt(w_dim), where nearly all samples lie.

    The norm of a standard normal vector has a standard deviation of 1/sqrt(2) about it (chi distribution).
    """

    name = "shell"

    def _common_term(self) -> Tensor:
        norm = (self.common.square().flatten(1).sum(1) + 1e-9).sqrt()
        return (norm - self.common.shape[-1] ** 0.5).square()


PRIORS: dict[str, type[Prior]] = {prior.name: prior for prior in (Whitened, Shell, Sphere)}

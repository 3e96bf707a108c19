"""Where the latents walk, and how far from what the generator draws they are.

To add a prior: one class that keeps Walk's contract, and one entry in PRIORS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..latents.gaussian import LatentGaussian
from ..latents.spaces import draw_latent

STAGES = (1 / 3, 2 / 3)  # of a staged search: from when each layer has its own style, and from when the noise moves


@dataclass(frozen=True)
class Variable:
    """Something that an optimiser moves.

    value: [B, L, ...], a leaf. on_sphere: each value[b, l] keeps its first norm.
    rate: times the learning rate. opens: the share of the steps that it rests at first.
    """

    value: Tensor
    on_sphere: bool = True
    rate: float = 1.0
    opens: float = 0.0


class Walk(ABC):
    """The latents of one batch of searches.

    Args:
        gaussian: on the device and of the type of the search.
        num_ws: style vectors of the generator.
        space: of latents.LATENT_SPACES.
        offset_std: [num_ws, 1], how far each layer's style may leave the common one, in standard deviations.
        sample_scale: of the random latent that each search is drawn to, in standard deviations.
    """

    name: ClassVar[str]
    is_density: ClassVar[bool] = True  # whether the loss is weighed against a penalty, or the walk alone confines it
    variables: list[Variable]

    def __init__(self, gaussian: LatentGaussian, num_ws: int, space: str, offset_std: Tensor, sample_scale: float):
        self.gaussian, self.num_ws, self.space = gaussian, num_ws, space
        self.offset_std, self.sample_scale = offset_std, sample_scale

    @abstractmethod
    def begin(self, randoms: Sequence[torch.Generator], guess: Tensor | None) -> None:
        """Draws the first latents, one image from each random generator.

        Args:
            guess: white latents [B, w_dim] to begin near, for those that can; None knows nothing.
        """

    @abstractmethod
    def begin_at(self, ws: Tensor) -> None:
        """Begins with these style vectors [B, num_ws, w_dim]; those that have a penalty count it from there."""

    def tensors(self) -> list[Tensor]:
        """All that belongs to these searches, the variables first."""
        return [variable.value for variable in self.variables]

    @abstractmethod
    def ws(self) -> Tensor:
        """Style vectors [B, num_ws, w_dim], differentiable."""

    def penalty(self) -> Tensor:
        """[B]: minus the logarithm of the prior's density, up to a constant."""
        return self.variables[0].value.new_zeros(len(self.variables[0].value))


class Sphere(Walk):
    """As published: a standard normal latent a layer, each of which keeps its norm (PULSE, section 3.2)."""

    name = "sphere"
    is_density = False

    def begin(self, randoms: Sequence[torch.Generator], guess: Tensor | None) -> None:
        width = self.gaussian.mean.numel()
        drawn = [draw_latent(random, self.space, self.num_ws, width) for random in randoms]
        self.variables = [Variable(torch.stack(drawn).to(self.gaussian.mean).requires_grad_())]

    def begin_at(self, ws: Tensor) -> None:
        white = self.gaussian.from_ws(ws)
        white = white.mean(1, keepdim=True) if self.space == "W" else white
        self.variables = [Variable(white.clone().requires_grad_())]

    def ws(self) -> Tensor:
        return self.gaussian.to_ws(self.variables[0].value).expand(-1, self.num_ws, -1)


class Whitened(Walk):
    """A common style in the principal axes of W, and small departures from it for each layer.

    w_l = colour(trunk + offset_std * branch_l), trunk and branches standard normal a priori: the natural faces
    first, the layers apart only as far as the picture asks. The trunk is drawn to a random
    latent instead of to the mean face: then the minimum is close to a draw from the posterior (randomised maximum
    a posteriori, Wang, Bui-Thanh, Ghattas 2018), and another seed gives another face.
    """

    name = "whitened"

    def begin(self, randoms: Sequence[torch.Generator], guess: Tensor | None) -> None:
        width = self.gaussian.mean.numel()
        drawn = torch.stack([torch.randn(1, width, generator=random) for random in randoms])
        self.aim = self.sample_scale * drawn.to(self.gaussian.mean)
        self._set_out(self.aim if guess is None else guess[:, None])

    def begin_at(self, ws: Tensor) -> None:
        white = self.gaussian.whiten(ws)
        self.aim = white.mean(1, keepdim=True)
        self._set_out(self.aim, white - self.aim)

    def _set_out(self, start: Tensor, apart: Tensor | None = None) -> None:
        """The variables. apart: where each layer's style is beside the common one when it begins."""
        width = start.shape[-1]
        self.apart = apart
        self.trunk = start.clone().requires_grad_()
        self.branches = self.trunk.new_zeros(len(start), self.num_ws, width).requires_grad_()
        self.variables = [Variable(self.trunk, on_sphere=False)]
        if self.space != "W":
            opens = STAGES[0] if self.space == "staged" else 0.0
            self.variables.append(Variable(self.branches, on_sphere=False, opens=opens))

    def tensors(self) -> list[Tensor]:
        """See Walk."""
        kept = (self.trunk, self.branches, self.aim, self.apart)
        return [each for each in kept if each is not None]

    def ws(self) -> Tensor:
        white = self.trunk + self.offset_std * self.branches
        return self.gaussian.colour(white if self.apart is None else white + self.apart)

    def penalty(self) -> Tensor:
        return self.trunk_penalty() + self.branches.square().flatten(1).sum(1) / 2

    def trunk_penalty(self) -> Tensor:
        """[B], of the common style."""
        return (self.trunk - self.aim).square().flatten(1).sum(1) / 2


class Shell(Whitened):
    """As Whitened, but the common style is held to the shell of norm sqrt(w_dim), where nearly all draws lie.

    The norm of a standard normal vector has a standard deviation of 1/sqrt(2) about it (the chi distribution).
    """

    name = "shell"

    def trunk_penalty(self) -> Tensor:
        radius = (self.trunk.square().flatten(1).sum(1) + 1e-9).sqrt()
        return (radius - self.trunk.shape[-1] ** 0.5).square()


class SquaredDistance(torch.autograd.Function):
    """Sum of squares of how far each image's maps are from others: maps and others [B, 1, H, W] each -> [B].

    In few kernels, however many maps there are.
    """

    @staticmethod
    def forward(ctx: Any, others: Sequence[Tensor], *maps: Tensor) -> Tensor:
        apart = torch.cat([(one - other).flatten(1) for one, other in zip(maps, others, strict=True)], 1)
        ctx.save_for_backward(apart)
        ctx.shapes = [each.shape for each in maps]
        return apart.square().sum(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (apart,) = ctx.saved_tensors
        gradients = (2 * grad[:, None] * apart).split([shape[1:].numel() for shape in ctx.shapes], 1)
        return None, *(each.view(shape) for each, shape in zip(gradients, ctx.shapes, strict=True))


PRIORS: dict[str, type[Walk]] = {walk.name: walk for walk in (Whitened, Shell, Sphere)}

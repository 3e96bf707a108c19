"""A property that a face has or lacks, along one direction of W (InterFaceGAN, Shen et al. 2020, arXiv 1907.10786).

Glasses are on or off, but W's Gaussian has one mode. Latents between the two are likely under it, and draw half a
frame. Where the answer is given, the prior along the direction is that of the faces with the property, or of those
without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mode:
    """A Gaussian along one direction of white latents, in place of N(0, 1).

    unit: [w_dim], of length 1. mean, std: scalars.
    """

    unit: Tensor
    mean: Tensor
    std: Tensor

    def sample(self, white: Tensor) -> Tensor:
        """Samples of N(0, I), [..., w_dim] -> samples of the mode."""
        return white + (self.mean + (self.std - 1) * self._along(white)) * self.unit

    def at_mean(self, white: Tensor) -> Tensor:
        """White latents [..., w_dim] -> those with the mean of the mode along the direction."""
        return white + (self.mean - self._along(white)) * self.unit

    def squared_distance(self, difference: Tensor) -> Tensor:
        """Differences of white latents, [..., w_dim] -> [...]: squared Mahalanobis distances under the mode."""
        along = self._along(difference)[..., 0]
        return difference.square().sum(-1) + (self.std**-2 - 1) * along.square()

    def _along(self, white: Tensor) -> Tensor:
        return (white * self.unit).sum(-1, keepdim=True)


@dataclass(frozen=True)
class Attribute:
    """A direction, and where samples with and without the property lie along it.

    Args:
        direction: [w_dim], in W before the last LeakyReLU: what a step of one standard deviation adds.
        modes: [2, 2]: (mean, standard deviation) of samples without, and with it, in standard deviations.
    """

    direction: Tensor
    modes: Tensor

    @property
    def is_proper(self) -> bool:
        """Whether the direction is not zero and the standard deviations are positive."""
        return bool(self.direction.any()) and bool((self.modes[:, 1] > 0).all())

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> Attribute:
        """A copy with the function applied to every tensor, for example to move it to a device."""
        return Attribute(function(self.direction), function(self.modes))

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by their names."""
        return {"direction": self.direction, "modes": self.modes}

    def unit(self, axes: tuple[Tensor, Tensor]) -> Tensor:
        """The direction among white latents, [w_dim], of length 1.

        Args:
            axes: `LatentGaussian.axes`.
        """
        principal, spread = (each.float() for each in axes)
        unit = self.direction.float() @ principal / spread
        return (unit / unit.norm()).to(self.direction)

    def mode(self, axes: tuple[Tensor, Tensor], *, present: bool) -> Mode:
        """The mode of the faces with the property, or of those without.

        Args:
            axes: `LatentGaussian.axes`.
        """
        return Mode(self.unit(axes), *self.modes[int(present)])


def fit_attribute(white: Tensor, has: Tensor, axes: tuple[Tensor, Tensor], *, leading: int, ridge: float) -> Attribute:
    """The direction that tells samples with the property from those without: ridge regression of their labels.

    Args:
        white: [N, w_dim], whitened samples. has: [N], bool, with both values.
        axes: `LatentGaussian.axes`.
        leading: principal axes that are used. ridge: added to the covariance, relative to 1.
    """
    x, y = white[:, :leading].double(), has.double()
    covariance = x.mT @ x / len(x) + ridge * torch.eye(leading, dtype=x.dtype)
    unit = torch.zeros(white.shape[1], dtype=x.dtype)
    unit[:leading] = torch.linalg.solve(covariance, x.mT @ (y - y.mean()) / len(x))
    unit /= unit.norm()
    along = white.double() @ unit
    modes = torch.stack([torch.stack([along[chosen].mean(), along[chosen].std()]) for chosen in (~has, has)])
    principal, spread = (each.double() for each in axes)
    return Attribute((principal @ (unit * spread)).float(), modes.float())

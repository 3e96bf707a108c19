"""A property that a face has or lacks, along one direction of W (InterFaceGAN, Shen et al. 2020, arXiv 1907.10786).

W's Gaussian knows one kind of face. Glasses are on or off, so its likeliest latents between the two draw half of them.
Given the answer, the prior of the coordinate along the direction is that of the faces with the property, or without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Attribute:
    """A direction, and where samples with and without the property lie along it.

    Args:
        direction: [w_dim], in W before the last LeakyReLU: what a step of one standard deviation adds.
        modes: [2, 2]: (mean, standard deviation) of samples without, and with it, in standard deviations.
    """

    direction: Tensor
    modes: Tensor

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
        principal, spread = (each.to(self.direction) for each in axes)
        unit = self.direction @ principal / spread
        return unit / unit.norm()

    def to_mode(self, white: Tensor, axes: tuple[Tensor, Tensor], present: bool, *, sampled: bool) -> Tensor:
        """Moves white latents [..., w_dim] along the direction, to where faces with the property are, or without.

        Args:
            axes: `LatentGaussian.axes`.
            sampled: whether they are samples of the prior, and become samples of the mode; else they move to its mean.
        """
        unit = self.unit(axes).to(white)
        mean, std = self.modes[int(present)].to(white)
        along = (white * unit).sum(-1, keepdim=True)
        return white + (mean + (std * along if sampled else 0) - along) * unit


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

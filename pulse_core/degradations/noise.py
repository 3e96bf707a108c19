"""Noise: the forward operator is the identity, and the search allows for the noise's variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..settings import option
from .base import Degradation

HALF_STEP = 0.5 / 255  # an 8-bit value is black or white where it rounds to 0 or 255


@dataclass(frozen=True)
class Noise(Degradation):
    """Independent Gaussian noise on every value; the result is clamped to 0..1.

    Args:
        std: standard deviation, colours in 0..1.

    Raises:
        SettingError: out of range.
    """

    name: ClassVar[str] = "noise"
    help: ClassVar[str] = "Gaussian noise"
    std: float = option(0.1, "standard deviation, colours in 0..1", low=0, high=1)

    def forward(self, x: Tensor) -> Tensor:
        """The identity: the mean of the noise is zero."""
        return x

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """[B, C, H, W] -> the same shape, in 0..1."""
        return (x + self.std * torch.randn(x.shape, generator=random).to(x)).clamp(0, 1)

    def noise_variance(self, y: Tensor) -> Tensor:
        """[B], colours in 0..1; clamping, which lowers it a little, is ignored."""
        return y.new_full((len(y),), self.std**2)


@dataclass(frozen=True)
class SaltAndPepper(Degradation):
    """Pixels that turn black or white in all channels, with equal probability.

    Args:
        amount: share of the pixels, 0..1.

    Raises:
        SettingError: out of range.
    """

    name: ClassVar[str] = "salt_and_pepper"
    help: ClassVar[str] = "black and white pixels, which the search ignores"
    amount: float = option(0.1, "share of the pixels", low=0, high=1)

    def forward(self, x: Tensor) -> Tensor:
        """The identity; `weight_map` finds the pixels in the target."""
        return x

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        chance = torch.rand((len(x), 1, *x.shape[-2:]), generator=random).to(x.device)
        return x.masked_fill(chance < self.amount, 1.0).masked_fill(chance < self.amount / 2, 0.0)

    def weight_map(self, y: Tensor) -> Tensor:
        """[B, 1, h, w]: 0 where a pixel is black or white in all channels, 1 elsewhere."""
        lost = (y <= HALF_STEP).all(1, keepdim=True) | (y >= 1 - HALF_STEP).all(1, keepdim=True)
        return (~lost).to(y.dtype)

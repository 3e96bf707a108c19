"""Noise: what the search cannot look through, only allow for."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from .base import Argument, Degradation

HALF_STEP = 0.5 / 255  # an 8-bit value is black or white where it rounds to 0 or 255


class Noise(Degradation):
    """Gaussian noise on every value, alone; the result is clamped to 0..1, as pictures are.

    Args:
        std: its standard deviation in 0..1.

    Raises:
        SettingError: out of range.
    """

    name: ClassVar[str] = "noise"
    help: ClassVar[str] = "Gaussian noise"
    arguments: ClassVar[tuple[Argument, ...]] = (
        Argument("std", "standard deviation, colours being 0..1", low=0, high=1, default=0.1),
    )

    def __init__(self, std: float):
        self.std: float = self.checked("std", std)

    def forward(self, x: Tensor) -> Tensor:
        """x itself: no noise is known beforehand."""
        return x

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """[B, C, H, W] -> the same shape, in 0..1."""
        return (x + self.std * torch.randn(x.shape, generator=random).to(x)).clamp(0, 1)

    def noise_variance(self, y: Tensor) -> Tensor:
        """[B], in (0..1)^2; clamping takes a little of it away."""
        return y.new_full((len(y),), self.std**2)


class SaltAndPepper(Degradation):
    """Pixels that turn black or white, both as likely, in all channels.

    Args:
        amount: the share of pixels, in 0..1.

    Raises:
        SettingError: out of range.
    """

    name: ClassVar[str] = "salt_and_pepper"
    help: ClassVar[str] = "black and white pixels, which are then not trusted"
    arguments: ClassVar[tuple[Argument, ...]] = (Argument("amount", "share of the pixels", low=0, high=1, default=0.1),)

    def __init__(self, amount: float):
        self.amount: float = self.checked("amount", amount)

    def forward(self, x: Tensor) -> Tensor:
        """x itself: which pixels turn is not known beforehand."""
        return x

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        chance = torch.rand((len(x), 1, *x.shape[-2:]), generator=random).to(x.device)
        return x.masked_fill(chance < self.amount, 1.0).masked_fill(chance < self.amount / 2, 0.0)

    def weight_map(self, y: Tensor) -> Tensor:
        """[B, 1, h, w]: 0 where a pixel is black or white in all channels, 1 elsewhere."""
        lost = (y <= HALF_STEP).all(1, keepdim=True) | (y >= 1 - HALF_STEP).all(1, keepdim=True)
        return (~lost).to(y.dtype)

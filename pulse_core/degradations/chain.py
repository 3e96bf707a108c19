"""Degradations one after the other, and what the search looks through for a target."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ImageError, SettingError
from .base import Degradation
from .bicubic import BicubicDownsample


class Chain(Degradation):
    """Degradations in the order in which they happened; chains in it are laid out flat.

    Raises:
        SettingError: no part is given.
    """

    name: ClassVar[str] = "chain"

    def __init__(self, parts: Iterable[Degradation]):
        self.parts: tuple[Degradation, ...] = tuple(
            each for part in parts for each in (part.parts if isinstance(part, Chain) else (part,))
        )
        if not self.parts:
            raise SettingError("The chain has no parts.", "at least one degradation.", "give one.")

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))

    @property
    def takes_any_size(self) -> bool:
        """If its first part does."""
        return self.parts[0].takes_any_size

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, h, w]."""
        for part in self.parts:
            x = part.forward(x)
        return x

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) after the last part."""
        for part in self.parts:
            height, width = part.output_size(height, width)
        return height, width

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """[B, C, H, W] -> [B, C, h, w]; the parts draw from `random` in turn."""
        for part in self.parts:
            x = part.apply(x, random)
        return x

    def project(self, y: Tensor) -> Tensor:
        """[B, C, h, w] as the measurement would show it."""
        for part in self.parts:
            y = part.project(y)
        return y

    def weight_map(self, y: Tensor) -> Tensor | None:
        """[B, 1, h, w]: the product of what the parts say; None where none of them says anything."""
        said = [trust for part in self.parts if (trust := part.weight_map(y)) is not None]
        return prod(said[1:], start=said[0]) if said else None

    def noise_variance(self, y: Tensor) -> Tensor:
        """[B]: the sum over the parts: what later parts average away is not taken off."""
        return torch.stack([part.noise_variance(y) for part in self.parts]).sum(0)


def forward_operator(
    degradation: Degradation | None, size: tuple[int, int], image_size: tuple[int, int]
) -> Degradation:
    """What the search looks through for a target of this size.

    Args:
        degradation: one that turns the image into the target; or one that leaves the target's size as it is,
            and then follows a bicubic downscaling, its pixels being those of the target; None is that alone.
        size: (height, width) of the target.
        image_size: (height, width) of the generator's image.

    Raises:
        ImageError: the degradation leads from the image to another size, or the target is larger than the image.
    """
    down = BicubicDownsample(size=size)
    if degradation is not None:
        own = degradation.output_size(*image_size)
        if own == size:
            return degradation
        if not _keeps(degradation, size):
            raise ImageError(
                f"The target is {_named(size)}; the degradation makes {_named(own)} of the generator's "
                f"{_named(image_size)}.",
                f"a target of {_named(own)}, or a degradation that does not change the size.",
                "resize the target, or take the downscaling out of the degradation.",
            )
    down.output_size(*image_size)
    return down if degradation is None else Chain([down, degradation])


def _keeps(degradation: Degradation, size: tuple[int, int]) -> bool:
    try:
        return degradation.output_size(*size) == size
    except ImageError:  # the target is smaller than what it downscales to
        return False


def _named(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"

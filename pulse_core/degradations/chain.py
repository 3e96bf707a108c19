"""Compositions of degradations, and the forward operator for a target."""

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
    """Applies its parts in order; nested chains are flattened.

    Raises:
        SettingError: no parts.
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
        """That of its first part."""
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
        """Projects by all parts, in order."""
        for part in self.parts:
            y = part.project(y)
        return y

    def weight_map(self, y: Tensor) -> Tensor | None:
        """[B, 1, h, w]: the product of the parts' weight maps; None if none has one."""
        maps = [weight for part in self.parts if (weight := part.weight_map(y)) is not None]
        return prod(maps[1:], start=maps[0]) if maps else None

    def noise_variance(self, y: Tensor) -> Tensor:
        """[B]: the sum over the parts; that later parts average noise away is ignored."""
        return torch.stack([part.noise_variance(y) for part in self.parts]).sum(0)


def forward_operator(
    degradation: Degradation | None, size: tuple[int, int], image_size: tuple[int, int]
) -> Degradation:
    """The forward operator from a generator's image to a target of this size.

    Args:
        degradation: one whose output for the image has the target's size; or one that keeps the target's size, which
            then follows bicubic downscaling, in pixels of the target; None is the downscaling alone.
        size: (height, width) of the target.
        image_size: (height, width) of the generator's image.

    Raises:
        ImageError: the degradation's output has another size than the target, or the target is larger than the image.
    """
    down = BicubicDownsample(size=size)
    if degradation is not None:
        own = degradation.output_size(*image_size)
        if own == size:
            return degradation
        if not _keeps_size(degradation, size):
            raise ImageError(
                f"The target is {_text_of(size)}; the degradation makes {_text_of(own)} of the generator's "
                f"{_text_of(image_size)}.",
                f"a target of {_text_of(own)}, or a degradation that does not change the size.",
                "resize the target, or take the downscaling out of the degradation.",
            )
    down.output_size(*image_size)
    return down if degradation is None else Chain([down, degradation])


def _keeps_size(degradation: Degradation, size: tuple[int, int]) -> bool:
    try:
        return degradation.output_size(*size) == size
    except ImageError:  # the target is smaller than what it downscales to
        return False


def _text_of(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"

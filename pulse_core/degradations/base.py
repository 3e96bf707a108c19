"""The contract of a degradation: what happened to the picture on its way to the low-resolution input."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor


class Degradation(Protocol):
    """An operator that the search looks through.

    `measure` is differentiable, works on each image of a batch alone, keeps device and dtype, and
    returns what `output_size` says.
    """

    name: ClassVar[str]

    def measure(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, h, w]."""
        ...

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of `measure` for an image of (height, width)."""
        ...

"""One forward operator for each image of a batch, so that images with different degradations are searched together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ImageError
from .base import Degradation
from .chain import Chain


class Identity(Degradation):
    """A(x) = x."""

    name: ClassVar[str] = "identity"

    def forward(self, x: Tensor) -> Tensor:
        """x itself."""
        return x


_IDENTITY = Identity()  # one object, so that rows with it are neighbours


class PerImage(Degradation):
    """Applies the i-th degradation to the i-th image of a batch.

    Args:
        parts: one for each image, all with the same output size; None is the identity.
    """

    name: ClassVar[str] = "per_image"

    def __init__(self, parts: Sequence[Degradation | None]):
        self.parts: tuple[Degradation, ...] = tuple(_IDENTITY if part is None else part for part in parts)
        groups = [list(rows) for _, rows in groupby(self.parts, key=id)]
        self._groups, self._counts = [rows[0] for rows in groups], [len(rows) for rows in groups]

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts))

    @property
    def takes_any_size(self) -> bool:
        """If all parts do."""
        return all(part.takes_any_size for part in self.parts)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, h, w], for as many images as there are parts."""
        return torch.cat([part.forward(rows) for part, rows in self._split(x)])

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w), the same for all parts; raises ImageError where it is not."""
        sizes = {part.output_size(height, width) for part in self._groups}
        if len(sizes) > 1:
            raise ImageError(
                f"The degradations of one batch lead from {width}x{height} to {len(sizes)} different sizes.",
                "degradations with the same output size.",
                "search these images separately.",
            )
        return sizes.pop()

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """[B, C, H, W] -> [B, C, h, w]; the parts draw from `random` in turn."""
        return torch.cat([part.apply(rows, random) for part, rows in self._split(x)])

    def project(self, y: Tensor) -> Tensor:
        """[B, C, h, w], each image onto the range of its own part."""
        return torch.cat([part.project(rows) for part, rows in self._split(y)])

    def weight_map(self, y: Tensor) -> Tensor | None:
        """[B, 1, h, w], 1 for images whose part has no map; None if no part has one."""
        maps = [(part.weight_map(rows), rows) for part, rows in self._split(y)]
        if all(weights is None for weights, _ in maps):
            return None
        return torch.cat([torch.ones_like(rows[:, :1]) if weights is None else weights for weights, rows in maps])

    def noise_variance(self, y: Tensor) -> Tensor:
        """[B], of each image's own part."""
        return torch.cat([part.noise_variance(rows) for part, rows in self._split(y)])

    def _split(self, x: Tensor) -> Iterator[tuple[Degradation, Tensor]]:
        """Each part with its images; neighbours with the same part stay together."""
        if len(x) != len(self.parts):
            raise ImageError(
                f"The batch has {len(x)} images, and there are {len(self.parts)} degradations.",
                "one degradation for each image.",
                "give as many.",
            )
        return zip(self._groups, x.split(self._counts), strict=True)


def combine(degradations: Sequence[Degradation | None]) -> Degradation | None:
    """The degradation of a batch: the images' common one, or `PerImage`.

    They must have the same output size, and the same `takes_any_size`.
    """
    first = degradations[0]
    return first if all(each is first for each in degradations) else PerImage(degradations)


def operator_of(degradation: Degradation, row: int) -> Degradation:
    """The part of a batch's forward operator that belongs to one image."""
    if isinstance(degradation, PerImage):
        return degradation.parts[row]
    if isinstance(degradation, Chain) and any(isinstance(part, PerImage) for part in degradation.parts):
        return Chain([operator_of(part, row) for part in degradation.parts])
    return degradation

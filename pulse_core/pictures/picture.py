"""A picture of a file: its pixels as they are there, and what has to go into a result beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .colour import ColourSpace, luma
from .images import save_pixels, to_rgb
from .png import Chunk


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture file, upright.

    pixels: [C, H, W] in 0..1, in its own colour space; C is 1 (grey), 2 (grey and alpha), 3 or 4.
    depth: bits a channel, 8 or 16. At this depth the pixels are those of the file.
    space: its colour space.
    digest: SHA-256 of the bytes that were decoded.
    notes: what the user should know, as in "it has 12 frames; the first is used".
    kept: PNG chunks of its date, place, resolution and texts.
    keeps_grey: whether what is made from a grey picture is grey.
    """

    pixels: Tensor
    depth: int
    space: ColourSpace
    digest: str = ""
    notes: tuple[str, ...] = ()
    kept: tuple[Chunk, ...] = ()
    keeps_grey: bool = True

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return len(self.pixels) in (2, 4)

    @property
    def colours(self) -> Tensor:
        """[1 or 3, H, W]: without alpha."""
        return self.pixels[:-1] if self.has_alpha else self.pixels

    @cached_property
    def is_grey(self) -> bool:
        """Whether all its pixels are grey, in one channel or in three equal ones, and results are to be."""
        return self.keeps_grey and bool((self.colours == self.colours[:1]).all())

    @cached_property
    def srgb(self) -> Tensor:
        """[3, H, W] in 0..1: in sRGB, alpha on white; for the search."""
        colours = self.space.to_srgb(self.colours)
        return to_rgb(torch.cat([colours, self.pixels[-1:]])) if self.has_alpha else colours

    @cached_property
    def native(self) -> Tensor:
        """[3 or 4, H, W] in 0..1: the pixels, grey repeated; faces are pasted into these."""
        colours = self.colours.expand(3, -1, -1)
        return torch.cat([colours, self.pixels[-1:]]) if self.has_alpha else colours

    def from_srgb(self, image: Tensor) -> Tensor:
        """sRGB, [3, h, w] in 0..1 -> this picture's colour space, [3, h, w]; grey if the picture is."""
        image = self.space.from_srgb(image)
        if self.is_grey and len(image) == 3:
            image = luma(image)
        return image.expand(3, -1, -1)

    def save(
        self,
        image: Tensor | Image.Image,
        path: Path | str,
        metadata: Mapping[str, Any] | None = None,
        *,
        is_whole: bool = False,
    ) -> None:
        """Writes a PNG in this picture's colour space, with its profile.

        Args:
            image: [3 or 4, h, w] in this colour space (`from_srgb`), or a sheet of such pictures.
            metadata: see `save_image`.
            is_whole: it is this picture with changes, so that date, place, resolution and texts stay.
        """
        save_pixels(self._pixels(image), path, metadata, profile=self.space.profile, kept=self.kept if is_whole else ())

    def _pixels(self, image: Tensor | Image.Image) -> np.ndarray:
        """[h, w, C] uint8 or uint16, with as many colours as the picture has."""
        if isinstance(image, Image.Image):
            return np.atleast_3d(np.asarray(image.convert("L") if self.space.channels == 1 else image))
        if self.space.channels == 1:
            image = torch.cat([image[:1], image[3:]])
        top, kind = (65535, np.uint16) if self.depth == 16 else (255, np.uint8)
        levels = image.detach().float().clamp(0, 1).mul(top).round()
        return levels.permute(1, 2, 0).cpu().numpy().astype(kind)

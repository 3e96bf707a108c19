"""JPEG (ITU-T T.81, JFIF; 4:2:0, as in libjpeg).

Chroma subsampling is linear and is the forward operator. Quantisation has no useful gradient: it is zero inside a step,
and a surrogate gradient drives values to the edges of the steps. The search treats it as noise instead. Its variance is
estimated by quantising the target once more, shifted by half a block.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from ..pictures.images import from_pil, to_pil
from ..settings import option
from .base import Degradation, check_rgb
from .caching import cached_matrix
from .grey import LUMA
from .separable import both_axes, like

BLOCK = 8
# T.81, tables K.1 and K.2, scaled by the quality in libjpeg
LUMA_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
CHROMA_TABLE = np.full((BLOCK, BLOCK), 99)
CHROMA_TABLE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
TABLES = {"luma": LUMA_TABLE, "chroma": CHROMA_TABLE}

_red, _green, _blue = LUMA
# without the chroma offset of 128, which the DCT's level shift would remove
TO_YCC = np.array(
    [
        LUMA,
        np.array([-_red, -_green, 1 - _blue]) / (2 * (1 - _blue)),
        np.array([1 - _red, -_green, -_blue]) / (2 * (1 - _red)),
    ]
)
TO_RGB = np.linalg.inv(TO_YCC)

_frequency, _place = np.arange(BLOCK)[:, None], np.arange(BLOCK)
DCT = np.cos(np.pi * (2 * _place + 1) * _frequency / (2 * BLOCK)) * np.where(_frequency == 0, BLOCK**-0.5, 0.5)
_TIES = np.array([-1 / 8, 1 / 8])  # libjpeg rounds ties down and up in turn


@cached_matrix
def quantisation_table(table: str, quality: int) -> np.ndarray:
    """A table of quantisation steps ("luma" or "chroma"), scaled by the quality as in libjpeg: [8, 8], 1..255."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((TABLES[table] * percent + 50) // 100).clip(1, 255).astype(np.float64)


@cached_matrix
def padding_matrix(length: int, multiple: int) -> np.ndarray:
    """[out, length]: edge padding to a multiple."""
    out = math.ceil(length / multiple) * multiple
    return np.eye(length)[np.minimum(np.arange(out), length - 1)]


@cached_matrix
def chroma_down_matrix(length: int, *, across: bool) -> np.ndarray:
    """[out, length]: means of pairs, padded to whole blocks: the columns before averaging, the rows after."""
    pairs = padding_matrix(length, 2 * BLOCK if across else 2).reshape(-1, 2, length).mean(1)
    return padding_matrix(len(pairs), BLOCK) @ pairs


@cached_matrix
def chroma_up_matrix(length: int, *, smooth: bool) -> np.ndarray:
    """[length, out of chroma_down_matrix]: 3/4 of the nearer and 1/4 of the next ("fancy upsampling"), or nearest."""
    nearer, side = np.arange(length) // 2, np.arange(length) % 2 * 2 - 1
    following = (nearer + side).clip(0, nearer[-1]) if smooth else nearer
    halves = np.eye(math.ceil(length / (2 * BLOCK)) * BLOCK)
    return 0.75 * halves[nearer] + 0.25 * halves[following]


def quantise(plane: Tensor, table: np.ndarray, to_whole: Callable[[Tensor], Tensor]) -> Tensor:
    """[B, C, H, W] in whole blocks: DCT, quantisation by a table, inverse DCT."""
    dct, step = like(DCT, plane), like(table, plane)
    blocks = rearrange(plane, "b c (rows y) (cols x) -> b c rows cols y x", y=BLOCK, x=BLOCK)
    kept = to_whole(dct @ blocks @ dct.mT / step) * step
    return rearrange(dct.mT @ kept @ dct, "b c rows cols y x -> b c (rows y) (cols x)")


def compress(x: Tensor, quality: int, *, rounded: bool = True) -> Tensor:
    """JPEG compression and decompression: [B, 3, H, W] in 0..1 -> the same shape, not clamped.

    Args:
        rounded: rounds colours and coefficients; without it, only chroma is subsampled, which is linear.
    """
    to_whole: Callable[[Tensor], Tensor] = torch.round if rounded else torch.clone
    height, width = x.shape[-2:]
    ycc = to_whole(like(TO_YCC, x) @ (255 * x - 128).flatten(2)).unflatten(2, (height, width))
    luma = both_axes(padding_matrix(height, BLOCK), ycc[:, :1], padding_matrix(width, BLOCK))
    chroma = both_axes(chroma_down_matrix(height, across=False), ycc[:, 1:], chroma_down_matrix(width, across=True))
    ties = like(_TIES, chroma).repeat(chroma.shape[-1] // 2)
    chroma = to_whole(chroma + ties) if rounded else chroma
    luma = quantise(luma, quantisation_table("luma", quality), to_whole)[..., :height, :width]
    chroma = quantise(chroma, quantisation_table("chroma", quality), to_whole)
    wide = width > 4  # libjpeg interpolates only then, whatever the height
    chroma = both_axes(chroma_up_matrix(height, smooth=wide), chroma, chroma_up_matrix(width, smooth=wide))
    rgb = like(TO_RGB, x) @ torch.cat([luma, chroma], 1).flatten(2)
    return (rgb.unflatten(2, (height, width)) + 128) / 255


@dataclass(frozen=True)
class JPEG(Degradation):
    """JPEG compression and decompression.

    Args:
        quality: of libjpeg and Pillow, 1..100.

    Raises:
        SettingError: out of range.
    """

    name: ClassVar[str] = "jpeg"
    help: ClassVar[str] = "JPEG compression (4:2:0)"
    quality: int = option(75, "quality of libjpeg and Pillow", low=1, high=100)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> the same shape: chroma subsampling, linear.

        Raises:
            ImageError: not RGB.
        """
        check_rgb(x, self.name)
        return compress(x, self.quality, rounded=False)

    def noise_variance(self, y: Tensor) -> Tensor:
        """[B], in (0..1)^2: the variance of quantisation, estimated on a shifted grid (compare Nosratinia 2001).

        On faces of 16 to 128 pixels and qualities 10 to 75, the estimate is 0.5 to 0.9 of the true variance.
        """
        moved = F.pad(y, (BLOCK // 2, 0, BLOCK // 2, 0), mode="replicate")
        error = compress(moved, self.quality) - compress(moved, self.quality, rounded=False)
        return error.square().flatten(1).mean(1)

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """[B, 3, H, W] -> the same shape: the 8-bit image, encoded and decoded by Pillow."""
        check_rgb(x, self.name)
        return torch.stack([self._encoded(image) for image in x]).to(x)

    def _encoded(self, image: Tensor) -> Tensor:
        file = io.BytesIO()
        to_pil(image).save(file, format="JPEG", quality=self.quality, subsampling="4:2:0")
        with Image.open(file) as picture:
            return from_pil(picture)

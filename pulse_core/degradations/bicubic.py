"""Antialiased bicubic downscaling, as two small matrix products.

The kernel is Keys' cubic (Keys 1981, eq. 15) with a = -0.5, stretched by the factor, sampled where
the published PULSE code samples it, and normalised. Borders are mirrored without repeating the edge
pixel. The mirrored taps are folded into one matrix [out, in] an axis, so that the whole operator is
R_h x R_w^T: exact, linear, and its gradient two more small products.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError, SettingError


def keys_cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic convolution kernel; zero from |x| = 2 on."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def mirrored(index: np.ndarray, length: int) -> np.ndarray:
    """Indices outside 0..length-1 folded back, the edge pixel not repeated, as often as needed."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    index = np.mod(index, period)
    return np.where(index < length, index, period - index)


def _matrix(first: np.ndarray, centre: np.ndarray, taps: int, scale: float, length: int) -> np.ndarray:
    """[out, length]: row i holds `taps` kernel values from pixel first[i] on, around centre[i], borders mirrored.

    The values are rounded to float32 whatever the image's type, as the published code does.
    """
    pixels = first[:, None] + np.arange(taps)
    weights = keys_cubic((pixels - centre[:, None]) / scale).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True, dtype=np.float32)
    matrix = np.zeros((len(first), length), np.float64)
    np.add.at(matrix, (np.arange(len(first))[:, None], mirrored(pixels, length)), weights)
    return matrix


@lru_cache(maxsize=64)
def factor_matrix(length: int, factor: int) -> np.ndarray:
    """[length // factor, length] for an integer factor, on the lattice of the published code.

    4 * factor taps, the first at i * factor - floor(3 * factor / 2). For odd factors (1 included) that
    lattice is half a pixel off the centre; `size_matrix` is centred for every factor.
    """
    first = np.arange(length // factor) * factor - 3 * factor // 2
    return _matrix(first, first + 2 * factor - 0.5, 4 * factor, factor, length)


@lru_cache(maxsize=64)
def size_matrix(length: int, out: int) -> np.ndarray:
    """[out, length] for any out <= length: output pixel i is centred on (i + 1/2) * length / out - 1/2.

    Equal to `factor_matrix` where length / out is an even integer; the identity where out == length.
    """
    scale = length / out
    centre = (np.arange(out) + 0.5) * scale - 0.5
    reach = math.ceil(2 * scale)
    return _matrix(np.floor(centre).astype(np.int64) - reach + 1, centre, 2 * reach, scale, length)


class BicubicDownsample:
    """Downscales by an integer factor or to a size.

    Args:
        factor: 1 or more; the result has floor(side / factor) pixels a side, the remainder is dropped.
        size: (height, width) of the result, each at most the image's; any ratio, the whole image is used.

    Raises:
        SettingError: neither or both are given, or a value is below 1.
    """

    name: ClassVar[str] = "bicubic"

    def __init__(self, *, factor: int | None = None, size: tuple[int, int] | None = None):
        if (factor is None) == (size is None):
            raise SettingError(
                f"factor is {factor} and size is {size}.", "exactly one of the two.", "give a factor or a size."
            )
        if min(size if size is not None else (factor or 0,)) < 1:
            raise SettingError(
                f"{'size' if factor is None else 'factor'} is {size if factor is None else factor}.",
                "whole numbers from 1 up.",
                "give a larger one.",
            )
        self.factor, self.size = factor, size

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Raises ImageError where the image is too small for this factor or size."""
        out = self.size if self.factor is None else (height // self.factor, width // self.factor)
        assert out is not None
        if not (1 <= out[0] <= height and 1 <= out[1] <= width):
            asked = f"size {out[1]}x{out[0]}" if self.factor is None else f"factor {self.factor}"
            raise ImageError(
                f"The image is {width}x{height}, too small to be downscaled by {asked}.",
                "a result of at least 1 pixel a side, and no larger than the image.",
                "use a smaller factor or size.",
            )
        return out

    def measure(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, h, w]."""
        height, width = x.shape[-2:]
        out_height, out_width = self.output_size(height, width)
        if self.factor is not None:
            rows, columns = factor_matrix(height, self.factor), factor_matrix(width, self.factor)
        else:
            rows, columns = size_matrix(height, out_height), size_matrix(width, out_width)
        # the columns first: they shrink the larger, contiguous side
        return _like(rows, x) @ (x @ _like(columns, x).mT)


def _like(matrix: np.ndarray, x: Tensor) -> Tensor:
    """In the type of x first and then on its device: MPS knows no float64."""
    return torch.from_numpy(matrix).to(x.dtype).to(x.device)


def downsample(x: Tensor, *, factor: int | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """`BicubicDownsample(factor=..., size=...)` applied once: [B, C, H, W] or [C, H, W], any range, same dtype."""
    operator = BicubicDownsample(factor=factor, size=size)
    return operator.measure(x) if x.ndim == 4 else operator.measure(x[None])[0]

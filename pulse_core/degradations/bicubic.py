"""Antialiased bicubic downscaling.

The kernel is Keys' cubic (Keys 1981, eq. 15) with a = -0.5, stretched by the factor, sampled at
the points of the published PULSE code, and normalised. Borders are reflected without repeating the edge pixel. The
kernel is rounded to float32 for every dtype, as in the published code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from ..defaults import own_numbers
from ..pictures.arrays import ArrayLike, as_tensor
from .caching import cached_matrix
from .separable import Downsample, both_axes, centred_matrix, kernel_matrix
from .separable import reflect_index as reflect_index


def keys_cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic convolution kernel; zero from |x| = 2 on."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@cached_matrix
def factor_matrix(length: int, factor: int) -> np.ndarray:
    """[length // factor, length] for an integer factor, on the grid of the published code.

    4 * factor taps, the first at i * factor - floor(3 * factor / 2). For odd factors (1 included) that
    grid is half a pixel off centre; `size_matrix` is centred for every factor.
    """
    first = np.arange(length // factor) * factor - 3 * factor // 2
    return kernel_matrix(keys_cubic, first, first + 2 * factor - 0.5, 4 * factor, factor, length, np.float32)


@cached_matrix
def size_matrix(length: int, out: int) -> np.ndarray:
    """[out, length] for any out <= length: output pixel i is centred on (i + 1/2) * length / out - 1/2.

    Equal to `factor_matrix` where length / out is an even integer; the identity where out == length.
    """
    return centred_matrix(keys_cubic, 2, length, out, length / out, np.float32)


@cached_matrix
def enlarging_matrix(length: int, out: int) -> np.ndarray:
    """[out, length] for out >= length: Keys' cubic interpolation, on the grid of `size_matrix`."""
    centre = (np.arange(out) + 0.5) * length / out - 0.5
    return kernel_matrix(keys_cubic, np.floor(centre).astype(np.int64) - 1, centre, 4, 1.0, length, np.float32)


@dataclass(frozen=True, init=False)
class BicubicDownsample(Downsample):
    """Downscales by an integer factor or to a size with Keys' cubic."""

    name: ClassVar[str] = "bicubic"
    help: ClassVar[str] = "bicubic downscaling, as in the PULSE paper"

    def axis(self, length: int, out: int) -> np.ndarray:
        """[out, length] of one axis."""
        return size_matrix(length, out) if self.factor is None else factor_matrix(length, self.factor)


@own_numbers
def downsample(x: ArrayLike, *, factor: int | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """`BicubicDownsample(factor=..., size=...)` applied once: [B, C, H, W] or [C, H, W], any range, same dtype.

    PIL images and numpy arrays, as in `upscale`, become tensors first.
    """
    x = as_tensor(x)
    operator = BicubicDownsample(factor=factor, size=size)
    return operator.forward(x) if x.ndim == 4 else operator.forward(x[None])[0]


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic interpolation to a size that is not smaller: [..., h, w], any range, same dtype."""
    return both_axes(enlarging_matrix(x.shape[-2], size[0]), x, enlarging_matrix(x.shape[-1], size[1]))

"""Linear operators that are two small matrix products: R_h x R_w^T, exact, and so is their gradient.

Borders are mirrored without repeating the edge pixel; the mirrored taps are folded into the one matrix
[out, in] of an axis, so that images smaller than a kernel need nothing else.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError, SettingError
from .base import Argument, Degradation

Kernel = Callable[[np.ndarray], np.ndarray]
_MOST_PLACED = 256
_placed: OrderedDict[tuple[int, torch.dtype, torch.device], tuple[np.ndarray, Tensor]] = OrderedDict()


def reflect_index(index: np.ndarray, length: int) -> np.ndarray:
    """Indices outside 0..length-1 folded back, the edge pixel not repeated, as often as needed."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    index = np.mod(index, period)
    return np.where(index < length, index, period - index)


def kernel_matrix(
    kernel: Kernel,
    first: np.ndarray,
    centre: np.ndarray,
    taps: int,
    scale: float,
    length: int,
    precision: type[np.floating] = np.float64,
) -> np.ndarray:
    """[out, length]: row i holds `taps` kernel values from pixel first[i] on, around centre[i], borders mirrored.

    The kernel is stretched by the scale, and each row sums to 1 in the precision.
    """
    pixels = first[:, None] + np.arange(taps)
    weights = kernel((pixels - centre[:, None]) / scale).astype(precision)
    weights /= weights.sum(axis=1, keepdims=True, dtype=precision)
    matrix = np.zeros((len(first), length), np.float64)
    np.add.at(matrix, (np.arange(len(first))[:, None], reflect_index(pixels, length)), weights)
    return matrix


def centred_matrix(
    kernel: Kernel,
    support: float,
    length: int,
    out: int,
    scale: float,
    precision: type[np.floating] = np.float64,
) -> np.ndarray:
    """[out, length]: output pixel i is centred on (i + 1/2) * scale - 1/2; the kernel is zero from |x| = support on."""
    centre = (np.arange(out) + 0.5) * scale - 0.5
    reach = math.ceil(support * scale)
    first = np.floor(centre).astype(np.int64) - reach + 1
    return kernel_matrix(kernel, first, centre, 2 * reach, scale, length, precision)


def like(matrix: np.ndarray, x: Tensor) -> Tensor:
    """The matrix in the type and on the device of x, kept there for the next time: a copy makes the CPU wait for a GPU.

    Args:
        matrix: one that lives on and never changes, as what lru_cache returns.
    """
    key = (id(matrix), x.dtype, x.device)
    if key not in _placed:
        with torch.inference_mode(False):  # gradients pass through it later
            placed = torch.from_numpy(matrix).to(x.dtype).to(x.device)  # the type first: MPS knows no float64
        _placed[key] = (matrix, placed)  # the matrix as well, so that its id stays its own
        if len(_placed) > _MOST_PLACED:
            _placed.popitem(last=False)
    _placed.move_to_end(key)
    return _placed[key][1]


def cached_matrices() -> list[Tensor]:
    """All that `like` keeps: a captured step needs them where they are."""
    return [placed for _, placed in _placed.values()]


def both_axes(rows: np.ndarray, x: Tensor, columns: np.ndarray) -> Tensor:
    """rows @ x @ columns^T: [..., H, W] -> [..., h, w] with rows [h, H] and columns [w, W]."""
    # the columns first: they shrink the larger, contiguous side
    return like(rows, x) @ (x @ like(columns, x).mT)


class Separable(Degradation):
    """A degradation that is one matrix for the rows and one for the columns."""

    @abstractmethod
    def matrices(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """([h, height], [w, width])."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, h, w]."""
        rows, columns = self.matrices(x.shape[-2], x.shape[-1])
        return both_axes(rows, x, columns)


class Downsample(Separable):
    """Downscales by an integer factor or to a size; `axis` says with which kernel.

    Args:
        factor: 1 or more; the result has floor(side / factor) pixels a side, the remainder is dropped.
        size: (height, width) of the result, each at most the image's; any ratio, the whole image is used.

    Raises:
        SettingError: neither or both are given, or a value is below 1 or not whole.
    """

    arguments: ClassVar[tuple[Argument, ...]] = (
        Argument("width", "width of the result", "pixels", low=1, kind=int),
        Argument("height", "height of the result", "pixels", low=1, default="width", kind=int),
    )

    def __init__(self, *, factor: int | None = None, size: tuple[int, int] | None = None):
        if (factor is None) == (size is None):
            raise SettingError(
                f"factor is {factor} and size is {size}.", "exactly one of the two.", "give a factor or a size."
            )
        side = self.arguments[0]
        if not all(side.accepts(value) for value in (size if size is not None else (factor,))):
            raise SettingError(
                f"{'size' if factor is None else 'factor'} is {size if factor is None else factor}.",
                "whole numbers from 1 up.",
                "give a larger one.",
            )
        self.factor, self.size = factor, size

    @classmethod
    def from_arguments(cls, width: int, height: int) -> Degradation:
        """To this size."""
        return cls(size=(height, width))

    @property
    def takes_any_size(self) -> bool:
        """To a size, not by a factor."""
        return self.size is not None

    @abstractmethod
    def axis(self, length: int, out: int) -> np.ndarray:
        """[out, length] of one axis."""

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

    def matrices(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """([h, height], [w, width])."""
        out_height, out_width = self.output_size(height, width)
        return self.axis(height, out_height), self.axis(width, out_width)

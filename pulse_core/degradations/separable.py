"""Linear operators that are two small matrix products: R_h x R_w^T, exact, and so is their gradient.

Borders are reflected without repeating the edge pixel. The reflected taps are folded into the matrix [out, in] of each
axis, so images smaller than the kernel need no special case.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError, SettingError
from ..limits import check_bytes
from ..settings import REQUIRED, check_options, option
from .base import Degradation
from .caching import ByteCache

Kernel = Callable[[np.ndarray], np.ndarray]
PLACED = 128 << 20  # bytes of matrices on devices
# Each with the matrix that it was made of, so that the id in its key is not reused.
_placed: ByteCache[tuple[np.ndarray, Tensor]] = ByteCache(PLACED, lambda entry: entry[0].nbytes + entry[1].nbytes)


def reflect_index(index: np.ndarray, length: int) -> np.ndarray:
    """Reflects indices outside 0..length-1, without repeating the edge pixel, as often as needed."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    index = np.mod(index, period)
    return np.where(index < length, index, period - index)


def check_matrix(out: int, length: int, taps: int = 0) -> None:
    """Raises SettingError if a matrix [out, length], made of so many taps in a row, would take too much memory."""
    wanted = 8 * out * (2 * length + 6 * taps)  # with its copy on the device, and the taps' places and weights
    check_bytes(wanted, f"Filtering {length} pixels to {out} with {taps} taps", "make the picture smaller first.")


def kernel_matrix(
    kernel: Kernel,
    first: np.ndarray,
    centre: np.ndarray,
    taps: int,
    scale: float,
    length: int,
    precision: type[np.floating] = np.float64,
) -> np.ndarray:
    """[out, length]: row i holds `taps` kernel values from pixel first[i] on, around centre[i], with reflected borders.

    The kernel is stretched by the scale, and each row sums to 1 in the precision.

    Raises:
        SettingError: the matrix would take too much memory.
    """
    check_matrix(len(first), length, taps)
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
    """The matrix in the dtype and on the device of x, cached there: copying makes the CPU wait for the GPU.

    Args:
        matrix: one that is never changed.
    """

    def place() -> tuple[np.ndarray, Tensor]:
        with torch.inference_mode(False):  # gradients pass through it later
            return matrix, torch.from_numpy(matrix).to(x.dtype).to(x.device)  # dtype first: MPS has no float64

    return _placed.get((id(matrix), x.dtype, x.device), place)[1]


def cached_matrices() -> list[Tensor]:
    """All matrices that `like` has cached: a captured CUDA graph needs their addresses to stay valid."""
    return [placed for _, placed in _placed.values()]


def both_axes(rows: np.ndarray, x: Tensor, columns: np.ndarray) -> Tensor:
    """rows @ x @ columns^T: [..., H, W] -> [..., h, w] with rows [h, H] and columns [w, W]."""
    # columns first: that shrinks the larger, contiguous side
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


@dataclass(frozen=True, init=False)
class Downsample(Separable):
    """Downscales by an integer factor or to a size; `axis` is the kernel.

    Args:
        factor: 1 or more; the result has floor(side / factor) pixels a side, the remainder is dropped.
        size: (height, width) of the result, at most the image's; any ratio, the whole image is used.

    Raises:
        SettingError: neither or both are given, or a value is below 1 or not whole.
    """

    width: int = option(REQUIRED, "width of the result", unit="pixels", low=1)
    height: int = option(REQUIRED, "height of the result", unit="pixels", low=1, same_as="width")
    factor: int | None = None

    def __init__(self, *, factor: int | None = None, size: tuple[int, int] | None = None):
        if (factor is None) == (size is None):
            raise SettingError(
                f"factor is {factor} and size is {size}.", "exactly one of the two.", "give a factor or a size."
            )
        width = self.options()[0]
        if size is None and not width.accepts(factor):
            raise SettingError(f"factor is {factor}.", "whole numbers from 1 up.", "give a larger one.")
        height_width = (0, 0) if size is None else size
        vars(self).update(factor=factor, height=height_width[0], width=height_width[1])  # it is frozen
        if size is not None:
            check_options(self, self.name)

    @classmethod
    def from_options(cls, **values: Any) -> Degradation:
        """To this size."""
        return cls(size=(values["height"], values["width"]))

    def __str__(self) -> str:
        return super().__str__() if self.factor is None else f"{self.name}(factor {self.factor})"

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the result; None for a factor."""
        return (self.height, self.width) if self.factor is None else None

    @property
    def takes_any_size(self) -> bool:
        """True for a size, False for a factor."""
        return self.size is not None

    @abstractmethod
    def axis(self, length: int, out: int) -> np.ndarray:
        """[out, length] of one axis."""

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Raises ImageError if the image is too small for this factor or size."""
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

"""Area downscaling: each output pixel is the mean of the input under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .caching import cached_matrix
from .separable import Downsample, check_matrix


@cached_matrix
def area_matrix(length: int, out: int, scale: float) -> np.ndarray:
    """[out, length]: the share of each pixel in the interval from i * scale to (i + 1) * scale, summing to 1.

    A scale below 1 upscales.
    """
    check_matrix(out, length, length)
    start, pixel = np.arange(out)[:, None] * scale, np.arange(length)
    covered = np.minimum(start + scale, pixel + 1) - np.maximum(start, pixel)
    weights = covered.clip(0)
    return weights / weights.sum(axis=1, keepdims=True)


@dataclass(frozen=True, init=False)
class AreaDownsample(Downsample):
    """Downscales by an integer factor or to a size by averaging, also to sizes that do not divide the input's."""

    name: ClassVar[str] = "area"
    help: ClassVar[str] = "downscaling that averages the area of each pixel (box)"

    def axis(self, length: int, out: int) -> np.ndarray:
        """[out, length] of one axis."""
        return area_matrix(length, out, self.factor or length / out)

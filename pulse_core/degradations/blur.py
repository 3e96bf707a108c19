"""Gaussian blur and motion blur: linear, of the same size, with reflected borders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from ..interrupts import each
from ..settings import option
from .base import Degradation
from .caching import cached_matrix
from .separable import Separable, both_axes, centred_matrix, check_matrix, reflect_index


@cached_matrix
def gaussian_matrix(length: int, sigma: float) -> np.ndarray:
    """[length, length]: the Gaussian at integer pixels, truncated at 4 sigma; each row sums to 1."""
    radius = math.ceil(4 * sigma)

    def kernel(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) <= radius, np.exp(-0.5 * (x / sigma) ** 2), 0.0)

    return centred_matrix(kernel, radius + 1, length, length, 1.0)


@dataclass(frozen=True)
class GaussianBlur(Separable):
    """Convolution with a Gaussian.

    Args:
        sigma: standard deviation, in pixels of its input.

    Raises:
        SettingError: out of range.
    """

    name: ClassVar[str] = "blur"
    help: ClassVar[str] = "Gaussian blur"
    sigma: float = option(1, "standard deviation", unit="pixels", low=0.1, high=100)

    def matrices(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """([height, height], [width, width])."""
        return gaussian_matrix(height, self.sigma), gaussian_matrix(width, self.sigma)


@cached_matrix
def line_kernel(length: float, angle: float) -> np.ndarray:
    """[2r+1, 2r+1]: the length of a centred line in each pixel, as a share; sums to 1.

    Args:
        length: in pixels.
        angle: in degrees, counter-clockwise from the horizontal.
    """
    radius = math.ceil(length / 2)
    direction = np.array([-math.sin(math.radians(angle)), math.cos(math.radians(angle))])  # y points down
    edges = np.arange(-radius, radius) + 0.5
    # where the line, from -length/2 to length/2, crosses from one pixel into the next
    cuts = [edges / step for step in direction if abs(step) > 1e-9]
    points = np.sort(np.concatenate([[-length / 2, length / 2], *cuts]).clip(-length / 2, length / 2))
    pixels = np.rint(np.outer((points[1:] + points[:-1]) / 2, direction)).astype(np.int64) + radius
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    np.add.at(kernel, (pixels[:, 0], pixels[:, 1]), np.diff(points) / length)
    return kernel


@cached_matrix
def _margin(length: int, radius: int) -> np.ndarray:
    """[length + 2 * radius, length]: reflection padding as a matrix: its gradient is deterministic on every device."""
    check_matrix(length + 2 * radius, length, length)
    return np.eye(length)[reflect_index(np.arange(-radius, length + radius), length)]


@dataclass(frozen=True)
class MotionBlur(Degradation):
    """Convolution with a straight line.

    Args:
        length: of the line, in pixels of its input.
        angle: in degrees, counter-clockwise from the horizontal.

    Raises:
        SettingError: out of range.
    """

    name: ClassVar[str] = "motion"
    help: ClassVar[str] = "motion blur along a line"
    length: float = option(5, "length of the line", unit="pixels", low=1, high=200)
    angle: float = option(0, "counter-clockwise from the horizontal", unit="degrees", low=-360, high=360)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        height, width = x.shape[-2:]
        kernel = line_kernel(self.length, self.angle)
        radius = len(kernel) // 2
        wide = both_axes(_margin(height, radius), x, _margin(width, radius))
        blurred = x.new_zeros(())
        # a line has few pixels: a sum of shifts is faster than conv2d
        for row, column in each(np.argwhere(kernel > 0)):
            blurred = blurred + float(kernel[row, column]) * wide[..., row : row + height, column : column + width]
        return blurred

"""Gaussian blur and motion blur; linear, the size is kept, borders are mirrored."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
from torch import Tensor

from .base import Argument, Degradation
from .separable import Separable, both_axes, centred_matrix, reflect_index


@lru_cache(maxsize=8)
def gaussian_matrix(length: int, sigma: float) -> np.ndarray:
    """[length, length]: the Gaussian at whole pixels, cut off at 4 sigma, each row summing to 1."""
    radius = math.ceil(4 * sigma)

    def kernel(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) <= radius, np.exp(-0.5 * (x / sigma) ** 2), 0.0)

    return centred_matrix(kernel, radius + 1, length, length, 1.0)


class GaussianBlur(Separable):
    """Blurs with a Gaussian.

    Args:
        sigma: its standard deviation, in pixels of the image that it gets.

    Raises:
        SettingError: out of range.
    """

    name: ClassVar[str] = "blur"
    help: ClassVar[str] = "Gaussian blur"
    arguments: ClassVar[tuple[Argument, ...]] = (
        Argument("sigma", "standard deviation", "pixels", low=0.1, high=100, default=1),
    )

    def __init__(self, sigma: float):
        self.sigma: float = self.checked("sigma", sigma)

    def matrices(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """([height, height], [width, width])."""
        return gaussian_matrix(height, self.sigma), gaussian_matrix(width, self.sigma)


@lru_cache(maxsize=8)
def line_kernel(length: float, angle: float) -> np.ndarray:
    """[2r+1, 2r+1]: the share of a line through the middle that lies in each pixel; sums to 1.

    Args:
        length: in pixels.
        angle: in degrees, counter-clockwise from the horizontal.
    """
    radius = math.ceil(length / 2)
    direction = np.array([-math.sin(math.radians(angle)), math.cos(math.radians(angle))])  # y points down
    edges = np.arange(-radius, radius) + 0.5
    # where the line, walked from -length/2 to length/2, passes from one pixel into the next
    cuts = [edges / step for step in direction if abs(step) > 1e-9]
    walk = np.sort(np.concatenate([[-length / 2, length / 2], *cuts]).clip(-length / 2, length / 2))
    pixels = np.rint(np.outer((walk[1:] + walk[:-1]) / 2, direction)).astype(np.int64) + radius
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    np.add.at(kernel, (pixels[:, 0], pixels[:, 1]), np.diff(walk) / length)
    return kernel


@lru_cache(maxsize=8)
def _margin(length: int, radius: int) -> np.ndarray:
    """[length + 2 * radius, length]: mirrored borders as a matrix, whose gradient is the same on every device."""
    return np.eye(length)[reflect_index(np.arange(-radius, length + radius), length)]


class MotionBlur(Degradation):
    """Blurs along a straight line.

    Args:
        length: of the line, in pixels of the image that it gets.
        angle: in degrees, counter-clockwise from the horizontal.

    Raises:
        SettingError: out of range.
    """

    name: ClassVar[str] = "motion"
    help: ClassVar[str] = "motion blur along a line"
    arguments: ClassVar[tuple[Argument, ...]] = (
        Argument("length", "length of the line", "pixels", low=1, high=200, default=5),
        Argument("angle", "counter-clockwise from the horizontal", "degrees", low=-360, high=360, default=0),
    )

    def __init__(self, length: float, angle: float):
        self.length: float = self.checked("length", length)
        self.angle: float = self.checked("angle", angle)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        height, width = x.shape[-2:]
        kernel = line_kernel(self.length, self.angle)
        radius = len(kernel) // 2
        wide = both_axes(_margin(height, radius), x, _margin(width, radius))
        blurred = x.new_zeros(())
        for row, column in np.argwhere(kernel > 0):  # a line has few pixels: sums of shifts, not a convolution
            blurred = blurred + float(kernel[row, column]) * wide[..., row : row + height, column : column + width]
        return blurred

"""Antialiased Lanczos downscaling, a = 3: sinc(x) sinc(x / 3), stretched by the factor; borders are reflected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .caching import cached_matrix
from .separable import Downsample, centred_matrix

LOBES = 3


def lanczos(x: np.ndarray) -> np.ndarray:
    """The windowed sinc; zero from |x| = 3 on."""
    return np.where(np.abs(x) < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0.0)


@cached_matrix
def lanczos_matrix(length: int, out: int, scale: float) -> np.ndarray:
    """[out, length]: output pixel i is centred on (i + 1/2) * scale - 1/2."""
    return centred_matrix(lanczos, LOBES, length, out, scale)


@dataclass(frozen=True, init=False)
class LanczosDownsample(Downsample):
    """Downscales by an integer factor or to a size with the Lanczos kernel."""

    name: ClassVar[str] = "lanczos"
    help: ClassVar[str] = "Lanczos downscaling (a = 3), as image editors do"

    def axis(self, length: int, out: int) -> np.ndarray:
        """[out, length] of one axis."""
        return lanczos_matrix(length, out, self.factor or length / out)

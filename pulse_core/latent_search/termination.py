"""When a search ends, and what counts as converged.

A search takes all its steps, as fewer would leave sigma above sigma_end; a callback may stop it before. It converged
if the generator's own image is within the tolerance in the face, and the written picture then agrees with the target.
"""

from __future__ import annotations

from torch import Tensor

from .config import SearchConfig
from .losses import mean_squared_error

EXACT = 1.0  # largest error of a pixel of an exact picture, in 8-bit steps


class Termination:
    """Of a batch of searches.

    Args:
        target: y, [B, C, h, w]. weight: of the error, see PixelWeights.convergence.

    Attributes:
        tolerance: [B], the mean squared error up to which an image counts as found: eps, or the target's noise.
    """

    def __init__(self, config: SearchConfig, target: Tensor, weight: Tensor | None, noise_variance: Tensor):
        self._config, self._target, self._weight = config, target, weight
        self._noise_variance = noise_variance
        self.tolerance = noise_variance.clamp(min=config.eps)

    def is_last(self, step: int) -> bool:
        """Whether all steps are taken."""
        return step >= self._config.steps

    def error(self, measured: Tensor) -> Tensor:
        """[B]: the mean squared error of A(G(w, n)) [B, C, h, w]."""
        return mean_squared_error(measured, self._target, self._weight)

    def within(self, error: Tensor) -> Tensor:
        """[B], bool; nothing is read from the device."""
        return error <= self.tolerance

    def converged(self, row: int, error: float, max_error: float) -> bool:
        """Whether the search for one image did.

        Args:
            error: of the best iterate. max_error: of a pixel of the picture as written, in 8-bit steps.
        """
        needs_exact = self._config.fidelity >= 1 and float(self._noise_variance[row]) <= 0
        return error <= float(self.tolerance[row]) and (max_error <= EXACT or not needs_exact)

    def tensors(self) -> list[Tensor]:
        """All tensors that belong to these searches."""
        return [self._noise_variance, self.tolerance]

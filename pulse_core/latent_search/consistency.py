"""Taking the remaining error off the picture itself.

The smallest change dx of an image x with A dx = t - A x, for a linear measurement A, is A^T (A A^T)^-1 (t - A x):
the range of A is corrected, its null space, which holds all that the search invented, stays (compare RND, Wang et
al. 2023, arXiv 2211.13524). A A^T is as small as the target, so a few conjugate gradients suffice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..degradations import Degradation
from ..losses import mean_squared_error

_ROUNDS = 4  # colours are clamped, which brings some of the error back
_STEPS = 12  # of the conjugate gradients


def correct(
    image: Tensor, target: Tensor, degradation: Degradation, amount: float, trust: Tensor | None = None
) -> Tensor:
    """The image [B, C, H, W] in 0..1 with `amount` of its error [B, C, h, w] taken off, still in 0..1.

    Noise in the target is left in the error: it is no part of the picture. What cannot be corrected (colours at
    their limits, a measurement that is not linear) is left as it is.
    """
    for _ in range(_ROUNDS):
        with torch.enable_grad():
            measured, transposed = _linearised(image, degradation)
        error = target - measured if trust is None else (target - measured) * trust
        power = mean_squared_error(measured, target, trust)
        kept = (degradation.noise_variance(target) / power.clamp(min=1e-12)).sqrt().clamp(max=1)
        wanted = error * (amount * (1 - kept))[:, None, None, None]
        change = transposed(_solve(lambda y: degradation.measure(transposed(y)), wanted))  # noqa: B023 - used at once
        better = (image + change).clamp(0, 1)
        improved = mean_squared_error(degradation.measure(better), target, trust) < power
        image = torch.where(improved[:, None, None, None], better, image)
        if amount < 1:
            break
    return image


def _linearised(image: Tensor, degradation: Degradation) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """(A x, A^T) at the image."""
    x = image.detach().requires_grad_()
    measured = degradation.measure(x)

    def transposed(y: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(measured, x, y, retain_graph=True)
        return gradient

    return measured.detach(), transposed


def _solve(operator: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """Conjugate gradients for operator(y) = b, each image of the batch alone."""
    y, residual = torch.zeros_like(b), b.clone()
    direction, power = residual.clone(), _dot(residual, residual)
    for _ in range(_STEPS):
        applied = operator(direction)
        step = power / _dot(direction, applied).clamp(min=1e-20)
        y, residual = y + step * direction, residual - step * applied
        new = _dot(residual, residual)
        direction, power = residual + new / power.clamp(min=1e-20) * direction, new
    return y


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)

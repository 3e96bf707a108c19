"""Enlarges a small picture with sharp outlines and no steps: the smoothest picture that downscales to it.

Bicubic interpolation leaves steps and rings along slanted edges, more so where the result must downscale to the input
exactly. Total variation prefers one straight, sharp edge (Rudin, Osher, Fatemi 1992). This solves

    min_x TV(x)   such that   D x = y,

D the bicubic downscaling, by the primal-dual method of Chambolle and Pock (2011, algorithm 1), with a Huber norm, which
leaves soft shading soft.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..degradations.bicubic import enlarge, size_matrix
from ..degradations.separable import like

_TIMES, _LONGEST = 8, 512  # times the small picture's side, and pixels at most, at which it is solved
_STEPS = 60
_PRIMAL = 0.35  # step size; the dual one follows from the norm of the gradient, 8
_HUBER = 0.02  # differences of neighbours below this are shading, colours in 0..1


def enlarge_sharp(small: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, h, w] in about 0..1 -> [B, C, *size]; each image alone, its colours together.

    Args:
        size: (height, width), at least the small picture's.
    """
    height, width = small.shape[-2:]
    times = max(1, min(_TIMES, _LONGEST // max(height, width), min(size) // min(height, width)))
    if times == 1:
        return enlarge(small, size)
    rows, columns = size_matrix(times * height, height), size_matrix(times * width, width)
    down, across = like(rows, small), like(columns, small)
    back_down, back_across = like(_inverse(rows.shape), small), like(_inverse(columns.shape), small)

    def projected(x: Tensor) -> Tensor:
        """The nearest picture that scales down to the small one."""
        return x + back_down @ (small - down @ x @ across.mT) @ back_across.mT

    x = ahead = enlarge(small, (times * height, times * width))
    dual = x.new_zeros(2, *x.shape)
    step = 1 / (8 * _PRIMAL)
    for _ in range(_STEPS):
        dual = (dual + step * _gradient(ahead)) / (1 + step * _HUBER)
        dual = dual / dual.square().sum((0, 2), keepdim=True).sqrt().clamp(min=1)
        before, x = x, projected(x + _PRIMAL * _divergence(dual))
        ahead = 2 * x - before
    return enlarge(x, size)


@lru_cache(maxsize=8)
def _inverse(shape: tuple[int, int]) -> np.ndarray:
    """[large, small]: R^T (R R^T)^-1 of the downscaling R [small, large] of an axis."""
    matrix = size_matrix(shape[1], shape[0])
    return matrix.T @ np.linalg.inv(matrix @ matrix.T)


def _gradient(x: Tensor) -> Tensor:
    """[2, *x.shape]: differences to the right and the lower neighbour, 0 at the border."""
    gradient = x.new_zeros(2, *x.shape)
    gradient[0, ..., :-1] = x[..., 1:] - x[..., :-1]
    gradient[1, ..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    return gradient


def _divergence(dual: Tensor) -> Tensor:
    """Minus the adjoint of `_gradient`."""
    across, down = dual[0, ..., :-1], dual[1, ..., :-1, :]
    divergence = torch.zeros_like(dual[0])
    divergence[..., :-1] += across
    divergence[..., 1:] -= across
    divergence[..., :-1, :] += down
    divergence[..., 1:, :] -= down
    return divergence

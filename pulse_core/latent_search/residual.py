"""What the generator could not draw: y = A(G(w, n) + U r) + e.

A search leaves a residual r = y - A(G(w, n)): a flag behind the head, a collar, the frame of glasses. Four steps put
it into the picture:

1. Outlines of G's image that lie beside their place move there (registration.py).
2. U r, the smoothly enlarged residual of what is left, is added.
3. Where r is large the generator drew something else. There the picture is the target itself, enlarged with sharp
   outlines (enlarging.py). G's image is weighted by 1 / (1 + r^2 / tau^2), as under a Cauchy likelihood, with a large
   tau in the face and a small one around it (a heavy-tailed prior on r; compare arXiv 1807.01442).
4. The rest is solved for. The picture nearest to x with A x = y and colours in 0..1 is clamp(x + A^T v) for a v as
   small as y, and Newton's method on A clamp(x + A^T v) + lambda v = y finds it in a few steps. lambda is Tikhonov's:
   too small to be seen, and it bounds v where a blur or a compression leaves no such picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from ..degradations import Degradation
from ..degradations.bicubic import downsample, enlarge
from ..degradations.blur import GaussianBlur
from .enlarging import enlarge_sharp
from .registration import register

TAU_FACE, TAU_AROUND = 0.2, 0.05  # residual at which G's image has half its weight, colours in 0..1 (bench/TRIED.md)
_SOFT = GaussianBlur(1.0)  # averages errors, in pixels of the target
_BANDS = (GaussianBlur(1.0), GaussianBlur(2.5))  # split a noisy residual into fine, middle and coarse
# Over-subtraction of the noise in each band (Berouti et al. 1979): fine noise shows as coloured specks.
_OVER = (3.0, 1.2, 1.0)
_WIDE = GaussianBlur(1.5)  # averages the power of a band
_NEWTON, _GRADIENTS = 8, 30  # Newton steps at most, and conjugate gradient steps in each
_LAMBDA = 3e-4  # of |A^T c|^2 / |c|^2 for a constant colour c
_EXACT = 5e-4  # largest error of a pixel at which it stops, colours in 0..1; an 8-bit step is 4e-3
_HALVINGS = 6  # backtracking of a Newton step
_UPHILL = 0.2  # slope after a step, as a share of that before


@dataclass(frozen=True)
class Completed:
    """picture: [B, C, H, W] in 0..1. residual: r = y - A(G), [B, C, h, w]."""

    picture: Tensor
    residual: Tensor


def complete(
    image: Tensor,
    target: Tensor,
    degradation: Degradation,
    face: Tensor,
    weight: Tensor | None = None,
    amount: float = 1.0,
) -> Completed:
    """The generator's image with `amount` of the residual added.

    The target's noise is not added (`_without_noise`). Where no picture agrees with the target (a degradation that is
    not linear, values outside of what colours can give) the result is as close as possible.

    Args:
        image: G(w, n), [B, C, H, W] in 0..1. target: y, [B, C, h, w].
        face: [1 or B, 1, h, w] in 0..1, 1 in the face, where G's image is kept longer.
        weight: [B, 1, h, w] in 0..1, the degradation's weight map; 0 corrects nothing.
        amount: 0 (G's image) to 1 (the picture's degradation is the target).
    """
    with torch.no_grad():
        residual = target - degradation.forward(image)
    if amount == 0:
        return Completed(image, residual)
    change = amount * _without_noise(_weighted(residual, weight), degradation.noise_variance(target))
    goal = target - residual + change
    small = downsample(image, size=(target.shape[-2], target.shape[-1]))
    x = _smoothed(register(image, small + _weighted(change, weight)), goal, degradation, face, weight)
    return Completed(nearest_exact(x, goal, degradation, weight), residual)


def _without_noise(residual: Tensor, variance: Tensor) -> Tensor:
    """The residual [B, C, h, w] without white noise of this variance [B]; itself where that is 0.

    A Wiener filter on bands, with the local power of each: a background that the generator did not draw is far
    stronger than the noise, a face that it drew is not.
    """
    variance = variance[:, None, None, None]
    parts = zip(_bands(residual), _noise_shares(), _OVER, strict=True)
    signal = sum(_wiener(band, over * share * variance) for band, share, over in parts)
    return torch.where(variance > 0, signal, residual)


def _bands(x: Tensor) -> list[Tensor]:
    """Fine to coarse; their sum is x."""
    smooth = [x, *(blur.forward(x) for blur in _BANDS)]
    return [fine - coarse for fine, coarse in pairwise(smooth)] + smooth[-1:]


@lru_cache(maxsize=1)
def _noise_shares() -> list[float]:
    """The variance of each band of white noise of variance 1: the sum of squares of its impulse response."""
    impulse = torch.zeros(1, 1, 65, 65, dtype=torch.float64)
    impulse[..., 32, 32] = 1
    return [float(band.square().sum()) for band in _bands(impulse)]


def _wiener(band: Tensor, noise: Tensor) -> Tensor:
    power = _WIDE.forward(band.square().mean(1, keepdim=True)).clamp(min=1e-12)
    return band * (1 - noise / power).clamp(min=0)


def _smoothed(image: Tensor, goal: Tensor, degradation: Degradation, face: Tensor, weight: Tensor | None) -> Tensor:
    """Steps 2 and 3."""
    size, full = ((one.shape[-2], one.shape[-1]) for one in (goal, image))
    with torch.no_grad():
        error = _weighted(goal - degradation.forward(image), weight)
        tau = TAU_AROUND + (TAU_FACE - TAU_AROUND) * face
        drawn = 1 / (1 + _SOFT.forward(error.square().mean(1, keepdim=True)) / tau.square())
        drawn = enlarge(drawn, full).clamp(0, 1)
        shown = enlarge_sharp(downsample(image, size=size) + error, full)
        x = torch.lerp(shown, image + enlarge(error, full), drawn).clamp(0, 1)
        left = _weighted(goal - degradation.forward(x), weight)  # U is no exact inverse of A
        return (x + enlarge(left, full)).clamp(0, 1)


def nearest_exact(x: Tensor, goal: Tensor, degradation: Degradation, weight: Tensor | None = None) -> Tensor:
    """Step 4: the picture in 0..1 nearest to x whose degradation is the goal, or as close to it as possible.

    Each image of a batch is solved alone.
    """
    rows = []
    for row in range(len(x)):
        one = slice(row, row + 1)
        rows.append(_solve_one(x[one], goal[one], degradation, None if weight is None else weight[one]))
    return torch.cat(rows)


def _solve_one(x: Tensor, goal: Tensor, degradation: Degradation, weight: Tensor | None) -> Tensor:
    """Newton's method on a function of v whose gradient is A clamp(x + A^T v) + lambda v - y.

    For a linear A and weights of 0 and 1 it is convex.
    """
    with torch.enable_grad():
        transposed = _transposed(x, degradation)
    with torch.no_grad():
        tikhonov = _LAMBDA * transposed(torch.ones_like(goal)).square().sum() / goal.numel()

        def at(v: Tensor) -> tuple[Tensor, Tensor]:
            """x + A^T v, and minus the gradient."""
            moved = x + transposed(v)
            return moved, _weighted(goal - degradation.forward(moved.clamp(0, 1)), weight) - tikhonov * v

        dual, (moved, error) = torch.zeros_like(goal), at(torch.zeros_like(goal))
        best = moved, float(error.square().sum())
        for _ in range(_NEWTON):
            if float(error.abs().amax()) <= _EXACT:
                break
            free = ((moved >= 0) & (moved <= 1)).to(x.dtype)  # pixels that are not clamped
            step = _conjugate_gradients(_newton(degradation, transposed, free, weight, tikhonov), error)
            step, downhill = _weighted(step, weight), error
            for halving in range(_HALVINGS):
                taken = step / 2**halving
                moved, error = at(dual + taken)
                if (error * taken).sum() >= -_UPHILL * (downhill * taken).sum():
                    break
            else:
                break
            dual = dual + taken
            if (power := float(error.square().sum())) < best[1]:
                best = moved, power
    return best[0].clamp(0, 1)


def _newton(
    degradation: Degradation,
    transposed: Callable[[Tensor], Tensor],
    free: Tensor,
    weight: Tensor | None,
    tikhonov: Tensor,
) -> Callable[[Tensor], Tensor]:
    """v -> A (free * A^T v) + lambda v, the derivative of A clamp(x + A^T v) + lambda v."""
    return lambda v: _weighted(degradation.forward(free * transposed(_weighted(v, weight))), weight) + tikhonov * v


def _transposed(x: Tensor, degradation: Degradation) -> Callable[[Tensor], Tensor]:
    """A^T at x: [1, C, h, w] -> [1, C, H, W]."""
    x = x.detach().requires_grad_()
    measured = degradation.forward(x)

    def transposed(y: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(measured, x, y, retain_graph=True)
        return gradient

    return transposed


def _conjugate_gradients(operator: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """Solves operator(v) = b from v = 0: the shortest solution where there are several."""
    v, residual = torch.zeros_like(b), b.clone()
    direction, power = residual.clone(), residual.square().sum()
    first, done = power, torch.zeros_like(power, dtype=torch.bool)
    for _ in range(_GRADIENTS):
        applied = operator(direction)
        curvature = (direction * applied).sum()
        done = done | (curvature <= 1e-12 * power) | (power <= 1e-5 * first)
        if done.device.type == "cpu" and done:  # on an accelerator this would wait
            break
        step = torch.where(done, 0, power / curvature)
        v, residual = v + step * direction, residual - step * applied
        new = residual.square().sum()
        direction, power = residual + torch.where(done, 0, new / power) * direction, new
    return v


def _weighted(error: Tensor, weight: Tensor | None) -> Tensor:
    return error if weight is None else error * weight

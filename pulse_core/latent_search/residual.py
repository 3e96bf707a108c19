"""What the generator could not draw: y = A(G(w, n) + U r) + e.

A search leaves an error r = y - A(G(w, n)): a flag behind the head, a collar, the frame of glasses. Three steps take
it off the picture:

1. U r, r enlarged smoothly, is added.
2. Where r is large the generator drew something else. There the picture is the input itself, enlarged with sharp
   outlines (enlarging.py). G's picture counts by the weights of a Cauchy likelihood, 1 / (1 + r^2 / tau^2), with a wide
   tau in the face and a tight one around it (a heavy-tailed prior on r; compare arXiv 1807.01442).
3. What is left goes off exactly. The picture nearest to x with A x = y and colours in 0..1 is clamp(x + A^T v) for some
   v as small as y, and Newton's method on A clamp(x + A^T v) = y finds it in a few steps.
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

TAU_FACE, TAU_AROUND = 0.2, 0.05  # of the error at which half of G's picture goes, colours in 0..1
_SOFT = GaussianBlur(1.0)  # over which errors are averaged, in pixels of the input
_BANDS = (GaussianBlur(1.0), GaussianBlur(2.5))  # split the residual beside noise: fine, middle and coarse
# Times its noise that each band loses (Berouti et al. 1979): fine noise shows as coloured specks.
_OVER = (3.0, 1.2, 1.0)
_WIDE = GaussianBlur(1.5)  # over which a band's power is measured
_NEWTON, _GRADIENTS = 20, 15  # steps at most, and of the conjugate gradients in each
_EXACT = 5e-4  # the largest error of a pixel that is left, colours in 0..1; an 8-bit step is 4e-3
_HALVINGS = 5  # of a Newton step that does not help


@dataclass(frozen=True)
class Completed:
    """picture: [B, C, H, W] in 0..1. residual: [B, C, h, w], y - A(G): what the generator did not draw."""

    picture: Tensor
    residual: Tensor


def complete(
    image: Tensor,
    target: Tensor,
    degradation: Degradation,
    face: Tensor,
    trust: Tensor | None = None,
    amount: float = 1.0,
) -> Completed:
    """The generator's image with `amount` of the residual in it.

    Noise of the degradation is no part of the picture and stays in the error (`_without_noise`). What cannot be
    corrected (a degradation that is not linear, values that no colours scale down to) gets as close as it can.

    Args:
        image: [B, C, H, W] in 0..1, G's. target: [B, C, h, w], y.
        face: [1 or B, 1, h, w] in 0..1, 1 in the face, where G's picture is kept longer.
        trust: [B, 1, h, w] in 0..1, as the degradation says it; 0 corrects nothing.
        amount: 0 (G's image) to 1 (the picture's degradation is the target).
    """
    with torch.no_grad():
        residual = target - degradation.forward(image)
    if amount == 0:
        return Completed(image, residual)
    signal = _without_noise(_trusted(residual, trust), degradation.noise_variance(target))
    goal = target - residual + amount * signal
    x = _smoothed(image, goal, degradation, face, trust)
    return Completed(project(x, goal, degradation, trust), residual)


def _without_noise(residual: Tensor, variance: Tensor) -> Tensor:
    """The residual [B, C, h, w] without white noise of this variance [B]; itself where that is 0.

    Wiener's filter on bands, with the power of each measured around a pixel: a background that the generator did not
    draw is far stronger than the noise, a face that it drew is not.
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


def _smoothed(image: Tensor, goal: Tensor, degradation: Degradation, face: Tensor, trust: Tensor | None) -> Tensor:
    """Steps 1 and 2."""
    size, full = ((one.shape[-2], one.shape[-1]) for one in (goal, image))
    with torch.no_grad():
        error = _trusted(goal - degradation.forward(image), trust)
        tau = TAU_AROUND + (TAU_FACE - TAU_AROUND) * face
        drawn = 1 / (1 + _SOFT.forward(error.square().mean(1, keepdim=True)) / tau.square())
        drawn = enlarge(drawn, full).clamp(0, 1)
        shown = enlarge_sharp(downsample(image, size=size) + error, full)
        x = torch.lerp(shown, image + enlarge(error, full), drawn).clamp(0, 1)
        left = _trusted(goal - degradation.forward(x), trust)  # U is no exact inverse of A
        return (x + enlarge(left, full)).clamp(0, 1)


def project(x: Tensor, goal: Tensor, degradation: Degradation, trust: Tensor | None = None) -> Tensor:
    """Step 3: the picture nearest to x whose degradation is the goal, in 0..1, as far as there is one.

    The images of a batch are solved alone.
    """
    rows = []
    for row in range(len(x)):
        one = slice(row, row + 1)
        rows.append(_projected(x[one], goal[one], degradation, None if trust is None else trust[one]))
    return torch.cat(rows)


def _projected(x: Tensor, goal: Tensor, degradation: Degradation, trust: Tensor | None) -> Tensor:
    with torch.enable_grad():
        transposed = _transposed(x, degradation)
    with torch.no_grad():
        dual, moved, picture = torch.zeros_like(goal), x, x.clamp(0, 1)
        error = _trusted(goal - degradation.forward(picture), trust)
        for _ in range(_NEWTON):
            if float(error.abs().amax()) <= _EXACT:
                break
            free = ((moved > 0) & (moved < 1)).to(x.dtype)  # the pixels that can follow in both directions
            step = _solve(_newton(degradation, transposed, free, trust), error)
            step, better = _trusted(step, trust), None
            for halving in range(_HALVINGS):
                farther = dual + step / 2**halving
                reached = x + transposed(farther)
                tried = reached.clamp(0, 1)
                left = _trusted(goal - degradation.forward(tried), trust)
                if left.square().sum() < error.square().sum():
                    better = farther, reached, tried, left
                    break
            if better is None:
                break
            dual, moved, picture, error = better
    return picture


def _newton(
    degradation: Degradation, transposed: Callable[[Tensor], Tensor], free: Tensor, trust: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """v -> A (free * A^T v), the derivative of A clamp(x + A^T v)."""
    return lambda v: _trusted(degradation.forward(free * transposed(_trusted(v, trust))), trust)


def _transposed(x: Tensor, degradation: Degradation) -> Callable[[Tensor], Tensor]:
    """A^T at x: [1, C, h, w] -> [1, C, H, W]."""
    x = x.detach().requires_grad_()
    measured = degradation.forward(x)

    def transposed(y: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(measured, x, y, retain_graph=True)
        return gradient

    return transposed


def _solve(operator: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """Conjugate gradients for operator(v) = b, from 0: the shortest solution where there are several."""
    v, residual = torch.zeros_like(b), b.clone()
    direction, power = residual.clone(), residual.square().sum()
    first, done = power, torch.zeros_like(power, dtype=torch.bool)
    for _ in range(_GRADIENTS):
        applied = operator(direction)
        curvature = (direction * applied).sum()
        done = done | (curvature <= 1e-12 * power) | (power <= 1e-8 * first)
        if done.device.type == "cpu" and done:  # an accelerator would have to be waited for
            break
        step = torch.where(done, 0, power / curvature)
        v, residual = v + step * direction, residual - step * applied
        new = residual.square().sum()
        direction, power = residual + torch.where(done, 0, new / power) * direction, new
    return v


def _trusted(error: Tensor, trust: Tensor | None) -> Tensor:
    return error if trust is None else error * trust

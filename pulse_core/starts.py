"""A better start than a random one: a guess of the latent from the low-resolution picture.

Pairs of a latent and its image cost nothing but rendering, so a ridge regression (Hoerl, Kennard 1970) from
the image at 16 pixels to the whitened latent is fitted once for a generator, like its Gaussian. It knows
pose, hair and light, which a gradient finds last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .degradations.bicubic import downsample
from .errors import SettingError
from .sampling import sample

if TYPE_CHECKING:
    from .gaussian import LatentGaussian
    from .generators import Generator

SIDE = 16  # pixels of the longer side that a guess looks at
DEFAULT_PAIRS = 3000
FEWEST = 100
FIRST_SEED = 2**40  # far from the seeds that people use, so that nobody's face is one that was learned
_RIDGES = (0.003, 0.01, 0.03, 0.1)  # times the number of pairs
_HELD_OUT = 10  # every so many pairs judge the regression


@dataclass(frozen=True)
class StartRegression:
    """mean: [C * h * w] of the small images. weight: [C * h * w, w_dim], to whitened latents. size: (h, w)."""

    mean: Tensor
    weight: Tensor
    size: tuple[int, int]

    def guess(self, target: Tensor) -> Tensor:
        """[B, C, h, w] in 0..1, of any size -> whitened latents [B, w_dim]."""
        height, width = self.size
        if target.shape[-2] >= height and target.shape[-1] >= width:
            small = downsample(target, size=self.size)
        else:
            small = torch.nn.functional.interpolate(target, self.size, mode="bilinear", align_corners=False)
        return (small.flatten(1) - self.mean.to(small)) @ self.weight.to(small)


def fit_starts(
    generator: Generator,
    gaussian: LatentGaussian,
    pairs: int = DEFAULT_PAIRS,
    *,
    class_index: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> StartRegression:
    """Fits the regression on images that the generator draws from seeds of its own.

    The strength of the ridge is chosen, and each dimension shrunk, by pairs that were held out.

    Args:
        gaussian: with its covariance.
        pairs: 100 or more.
        on_progress: called with (done, pairs) after each image; what it raises stops the fit.

    Raises:
        SettingError: too few pairs.
        CheckpointError: the generator has no mapping network.
    """
    if pairs < FEWEST:
        raise SettingError(f"{pairs} pairs were asked for.", f"{FEWEST} or more.", f"{DEFAULT_PAIRS} serve well.")
    longest = max(generator.size)
    size = tuple(max(1, round(SIDE * side / longest)) for side in generator.size)
    seeds = range(FIRST_SEED, FIRST_SEED + pairs)
    # filled in place: small tensors left lying between large ones that come and go would hold those' memory, too
    images = torch.empty(pairs, 3 * size[0] * size[1], dtype=torch.float64)
    latents = torch.empty(pairs, generator.w_dim, dtype=torch.float64)
    for row, (image, ws) in enumerate(sample(generator, seeds, class_index=class_index)):
        images[row] = downsample(image[None], size=(size[0], size[1])).flatten()
        latents[row] = gaussian.whiten(ws[0].cpu())
        if on_progress is not None:
            on_progress(row + 1, pairs)
    mean, weight = _ridge(images, latents)
    return StartRegression(mean.float(), weight.float(), (size[0], size[1]))


def _ridge(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x [N, P], y [N, D] -> the mean of x, and weights [P, D]; held-out pairs choose and shrink."""
    held = torch.arange(len(x)) % _HELD_OUT == 0
    mean = x[~held].mean(0)
    known, judge = x[~held] - mean, x[held] - mean
    square, product = known.mT @ known, known.mT @ y[~held]
    eye = torch.eye(square.shape[0], dtype=x.dtype)
    weights = [torch.linalg.solve(square + ridge * len(known) * eye, product) for ridge in _RIDGES]
    weight = min(weights, key=lambda each: float((judge @ each - y[held]).square().sum()))
    guess = judge @ weight
    slope = (guess * y[held]).sum(0) / guess.square().sum(0).clamp(min=1e-12)
    return mean, weight * slope.clamp(0, 1)

"""NIQE: the distance of a picture's statistics from those of pristine photographs. Lower is better.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a 'Completely Blind' Image Quality Analyzer", IEEE Signal
Processing Letters 20(3), 2013; numbers in parentheses below are its equations. The model of pristine
photographs is the authors'. Where the paper is not specific (no selection of sharp blocks, rounding, borders), this
follows their MATLAB release, as BasicSR's port does.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from pulse_core.errors import ImageError
from pulse_core.pictures.images import check_colours

BLOCK = 96  # pixels a side, as for the pristine model

_PARAMETERS = Path(__file__).with_name("niqe_parameters.safetensors")
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # horizontal, vertical, and both diagonals
_GAUSSIAN = np.exp(-((np.arange(7) - 3) ** 2) / (2 * (7 / 6) ** 2))  # 7 pixels, 3 standard deviations to each side
_GAUSSIAN /= _GAUSSIAN.sum()
_HALVE = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256  # MATLAB's imresize(0.5): Keys' cubic stretched by 2


def niqe(image: Tensor, crop_border: int = 0) -> float:
    """The NIQE of a picture: 2 to 4 for a sharp photograph, more for a worse one.

    Args:
        image: [3, H, W] RGB in 0..1; rounded to 8 bits first.
        crop_border: pixels to ignore at each side.

    Raises:
        ImageError: another shape, no colours, or fewer than two blocks of 96x96 pixels with texture.
    """
    if image.ndim != 3 or image.shape[0] != 3 or crop_border < 0:
        raise ImageError(
            f"The picture has the shape {list(image.shape)}, and crop_border is {crop_border}.",
            "[3, H, W], and 0 or more.",
            "give one RGB picture.",
        )
    height, width = (side - 2 * crop_border for side in image.shape[1:])
    if min(height, width) < BLOCK or (height // BLOCK) * (width // BLOCK) < 2:
        raise _too_little(f"The picture is {max(width, 0)}x{max(height, 0)} without its border")
    check_colours(image)
    luma = _luma(image)[crop_border:, crop_border:]
    luma = luma[: height // BLOCK * BLOCK, : width // BLOCK * BLOCK]
    half = _filtered(luma, _HALVE, "symmetric", step=2)
    features = np.concatenate([_features(luma, BLOCK), _features(half, BLOCK // 2)], axis=1)
    return _distance(features)


def _luma(image: Tensor) -> np.ndarray:
    """[3, H, W] in 0..1 -> [H, W], integers in 16..235: BT.601 luma of the 8-bit picture."""
    pixels = image.detach().float().cpu().clamp(0, 1).mul(255).round().double().numpy()
    return np.round(16 + np.tensordot([65.481, 128.553, 24.966], pixels, 1) / 255)


def _filtered(picture: np.ndarray, taps: np.ndarray, border: Literal["edge", "symmetric"], step: int = 1) -> np.ndarray:
    """[H, W] -> [H / step, W / step], filtered along both axes.

    The result is rounded to float32, so that flat parts stay flat: rounding errors would count as texture.
    """
    before = (len(taps) - 1) // 2
    for _ in range(2):  # along each axis, by transposing twice
        padded = np.pad(picture, ((before, before), (0, 0)), border)
        count = len(picture) // step
        picture = sum(tap * padded[first::step][:count] for first, tap in enumerate(taps)).T
    return picture.astype(np.float32).astype(np.float64)


def _features(luma: np.ndarray, block: int) -> np.ndarray:
    """[H, W] in 0..255 -> [blocks, 18]: shapes of the distributions of coefficients and of their products."""
    mean = _filtered(luma, _GAUSSIAN, "edge")
    deviation = np.sqrt(np.abs(_filtered(luma**2, _GAUSSIAN, "edge") - mean**2))
    coefficients = (luma - mean) / (deviation + 1)  # (1)-(3)
    rows, columns = (side // block for side in luma.shape)
    blocks = coefficients.reshape(rows, block, columns, block).swapaxes(1, 2).reshape(-1, block, block)
    alpha, left, right, _ = _aggd(blocks)
    features = [alpha, (left + right) / 2]
    for shift in _NEIGHBOURS:
        alpha, left, right, ratio = _aggd(blocks * np.roll(blocks, shift, axis=(1, 2)))
        features += [alpha, (right - left) * ratio, left, right]  # (8)
    return np.stack(features, axis=1)


@lru_cache(maxsize=1)
def _shapes() -> tuple[np.ndarray, ...]:
    """A grid of shapes alpha, and for each the moment ratio, sqrt(G(1/a) / G(3/a)) and G(2/a) / G(1/a)."""
    alpha = 0.2 + 0.001 * np.arange(9801)
    one, two, three = (torch.lgamma(torch.from_numpy(k / alpha)).numpy() for k in (1, 2, 3))
    return alpha, np.exp(2 * two - one - three), np.exp((one - three) / 2), np.exp(two - one)


def _aggd(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The asymmetric generalised Gaussian (7) of each block, by matching moments.

    N. Lasmar, Y. Stitou, Y. Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis", ICIP 2009.

    Args:
        blocks: [B, h, w].

    Returns: alpha, beta_l, beta_r and G(2/alpha) / G(1/alpha), [B] each; NaN betas where one side of 0 is empty.
    """
    squares = blocks**2
    negative, positive = blocks < 0, blocks > 0
    with np.errstate(invalid="ignore"):  # 0 / 0 where there is no texture
        left, right = (
            np.sqrt(np.where(side, squares, 0).sum((1, 2)) / side.sum((1, 2))) for side in (negative, positive)
        )
        skew = left / right
        moment = np.abs(blocks).mean((1, 2)) ** 2 / squares.mean((1, 2))
    moment *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    alpha, moments, spread, ratio = _shapes()
    above = np.searchsorted(moments, moment).clip(1, len(moments) - 1)  # the ratio grows with alpha
    nearest = above - (moment - moments[above - 1] < moments[above] - moment)
    nearest[np.isnan(moment)] = 0  # as MATLAB's minimum over NaN; the pristine model has none
    return alpha[nearest], left * spread[nearest], right * spread[nearest], ratio[nearest]


def _distance(features: np.ndarray) -> float:
    """[blocks, 36] -> their distance from the pristine model (10)."""
    complete = features[~np.isnan(features).any(axis=1)]
    if len(complete) < 2:
        raise _too_little(f"{len(complete)} of the picture's {len(features)} blocks have texture")
    pristine = load_file(_PARAMETERS)
    difference = pristine["mean"] - np.nanmean(features, axis=0)
    covariance = (pristine["covariance"] + np.cov(complete, rowvar=False)) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(covariance) @ difference))


def _too_little(found: str) -> ImageError:
    return ImageError(
        f"{found}.", f"at least two blocks of {BLOCK}x{BLOCK} pixels with texture.", "score a larger picture."
    )

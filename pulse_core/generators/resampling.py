"""Resampling by an FIR filter (upfirdn): zero insertion, convolution, or decimation, per channel.

Filters are 1-D (applied along both axes) or 2-D. Padding is (left, right, top, bottom) in pixels at the higher
resolution; negative padding crops.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import safe_layout

Padding = tuple[int, int, int, int]


def upfir(x: Tensor, kernel: Tensor, up: int, padding: Padding) -> Tensor:
    """Inserts up - 1 zeros after each pixel, pads, and convolves with a gain that preserves the mean.

    Args:
        x: [B, C, H, W].
        kernel: [k] or [kh, kw], of sum 1.

    Returns: [B, C, H up + top + bottom - kh + 1, W up + left + right - kw + 1].
    """
    kernel = kernel * up**kernel.ndim
    if kernel.ndim == 2:
        return _up(x, kernel, (up, up), padding)
    left, right, top, bottom = padding
    x = _up(x, kernel[None, :], (1, up), (left, right, 0, 0))
    return _up(x, kernel[:, None], (up, 1), (0, 0, top, bottom))


def firdown(x: Tensor, kernel: Tensor, down: int = 1, padding: Padding = (0, 0, 0, 0)) -> Tensor:
    """Pads, convolves, and keeps every down-th pixel; for the arguments see `upfir`."""
    if kernel.ndim == 2:
        return _down(x, kernel, (down, down), padding)
    left, right, top, bottom = padding
    x = _down(x, kernel[None, :], (1, down), (left, right, 0, 0))
    return _down(x, kernel[:, None], (down, 1), (0, 0, top, bottom))


def _up(x: Tensor, kernel: Tensor, up: tuple[int, int], padding: Padding) -> Tensor:
    """Zero insertion and convolution as one transposed convolution, cropped or padded to size."""
    channels, (kh, kw), (uh, uw), (left, right, top, bottom) = x.shape[1], kernel.shape, up, padding
    weight = safe_layout(kernel.expand(channels, 1, -1, -1))
    full = F.conv_transpose2d(x, weight, stride=up, groups=channels)
    edges = (left - kw + 1, right - kw + uw, top - kh + 1, bottom - kh + uh)
    return F.pad(full, edges) if any(edges) else full


def _down(x: Tensor, kernel: Tensor, down: tuple[int, int], padding: Padding) -> Tensor:
    left, right, top, bottom = padding
    inner = (0, 0)
    if (left, top) == (right, bottom) and min(padding) >= 0:
        inner = (top, left)
    else:
        x = F.pad(x, padding)
    weight = safe_layout(kernel.flip(0, 1).expand(x.shape[1], 1, -1, -1))
    return F.conv2d(x, weight, stride=down, padding=inner, groups=x.shape[1])


def default_filter() -> Tensor:
    """The filter of all published StyleGAN2: [1, 3, 3, 1] along both axes, with sum 1."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return row[:, None] * row

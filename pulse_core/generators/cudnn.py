"""Faster equivalents of float32 convolutions for which cuDNN's heuristics choose a slow kernel.

For the gradient of a 3x3 convolution on 512x512 pixels (32 channels) they choose an FFT of 6 ms, where the forward pass
takes 0.2 ms. A transposed convolution to 1024x1024 takes 1.5 ms, and 0.3 ms as an ordinary convolution (H200, cuDNN 9,
torch 2.11). torch.backends.cudnn.benchmark would find better kernels, but is global and takes seconds.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Shorter sides in pixels from which on cuDNN is slow: of a gradient, and of a transposed convolution's input.
SLOW_GRAD_SIDE, SLOW_UP_SIDE = 64, 256


def is_slow_in_cudnn(x: Tensor, side: int) -> bool:
    """Whether cuDNN is slow for features [B, C, H, W] whose shorter side is at least `side` pixels."""
    return x.device.type == "cuda" and x.dtype == torch.float32 and min(x.shape[-2:]) >= side


def subpixel_conv_transpose2d(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """conv_transpose2d of stride 2 as a convolution to four times the channels, and a pixel shuffle.

    Each of the four phases (2m or 2m + 1, along each axis) of the output is an ordinary convolution of the input (Shi
    et al. 2016, arXiv 1609.07009).

    Args:
        x: [B, in, H, W]. weight: [in, out, kh, kw]. padding: (vertical, horizontal).
    """
    inputs, out, *sides = weight.shape
    (top, height), (left, width) = (_window(side, pad) for side, pad in zip(sides, padding, strict=True))
    kernel = weight.new_zeros(out, 2, 2, inputs, height, width)
    for down in range(2):
        for across in range(2):
            for row, tap_down in _taps(down, sides[0], padding[0], top):
                for column, tap_across in _taps(across, sides[1], padding[1], left):
                    kernel[:, down, across, :, row, column] = weight[:, :, tap_down, tap_across].mT
    sizes = [2 * (length - 1) + side - 2 * pad for length, side, pad in zip(x.shape[2:], sides, padding, strict=True)]
    below, right = (
        math.ceil(size / 2) + window - 1 + first - length
        for size, window, first, length in zip(sizes, (height, width), (top, left), x.shape[2:], strict=True)
    )
    around = (-top, -left)
    if (below, right) != around:
        x, around = F.pad(x, (-left, right, -top, below)), (0, 0)
    biases = None if bias is None else bias.repeat_interleave(4)
    return F.pixel_shuffle(F.conv2d(x, kernel.flatten(0, 2), biases, padding=around), 2)[..., : sizes[0], : sizes[1]]


def _window(side: int, padding: int) -> tuple[int, int]:
    """The first input pixel, relative to m, that outputs 2m and 2m + 1 depend on, and the number of such pixels."""
    first = math.ceil((padding - side + 1) / 2)
    return first, (1 + padding) // 2 - first + 1


def _taps(phase: int, side: int, padding: int, first: int) -> list[tuple[int, int]]:
    """(position in the window, tap of the kernel) for the outputs o = 2m + phase, where o = 2i + tap - padding."""
    taps = [tap for tap in range(side) if (tap - phase - padding) % 2 == 0]
    return [((phase + padding - tap) // 2 - first, tap) for tap in taps]

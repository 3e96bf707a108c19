"""Where cuDNN's own choice of a float32 kernel is slow, and the same convolution written otherwise.

Its heuristics take an FFT of 6 ms for the gradient of a 3x3 convolution on 512x512 (32 channels), whose forward pass of
the same size takes 0.2 ms, and 1.5 ms for a transposed convolution to 1024x1024 that takes 0.3 as an ordinary one
(H200, cuDNN 9, torch 2.11). Measuring all kernels first, as torch.backends.cudnn.benchmark does, is a setting of the
whole process and takes seconds.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SLOW_GRAD_SIDE, SLOW_UP_SIDE = (
    64,
    256,
)  # pixels of the shorter side: of a gradient, and of what a transposed convolution takes


def is_slow_in_cudnn(x: Tensor, side: int) -> bool:
    """Whether features [B, C, H, W] are of a kind and size that it is slow with."""
    return x.device.type == "cuda" and x.dtype == torch.float32 and min(x.shape[-2:]) >= side


def subpixel_conv_transpose2d(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """conv_transpose2d of stride 2 as a convolution to four times the channels, one for each pixel of a square.

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
    """The first input pixel, relative to m, that the outputs 2m and 2m + 1 look at, and how many there are."""
    first = math.ceil((padding - side + 1) / 2)
    return first, (1 + padding) // 2 - first + 1


def _taps(phase: int, side: int, padding: int, first: int) -> list[tuple[int, int]]:
    """(place in the window, tap of the kernel) of the outputs 2m + phase: o = 2i + k - padding."""
    taps = [tap for tap in range(side) if (tap - phase - padding) % 2 == 0]
    return [((phase + padding - tap) // 2 - first, tap) for tap in taps]

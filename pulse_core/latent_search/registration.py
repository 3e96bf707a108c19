"""Moves the outlines of G's image to where the target has them.

An ear, a jaw or a collar that the generator draws a fraction of a target's pixel beside its place leaves a residual
along its whole outline, which no smooth correction can hide: outlines double. A smooth displacement field d explains it
better, and leaves texture as the generator drew it:

    min_d  cauchy(D W_d x - y) / (2 sigma^2) + alpha / 2 ||grad d||^2 + beta / 2 ||d||^2

(non-rigid registration with Horn and Schunck's smoothness, 1981, and a robust data term as in Black and Anandan 1996).
D is the bicubic downscaling and W_d moves the image. d is a grid of control points, in pixels of the target, and is
solved for on a small image by Adam.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..degradations.bicubic import downsample, enlarge
from .losses import CAUCHY_SCALE

_SHARE = 0.5  # control points per pixel of the target, along an axis
_TIMES, _LONGEST = 8, 256  # times the target's side, and pixels at most, at which it is solved
_SIGMA = 0.03  # of the error, colours in 0..1
_ALPHA, _BETA = 40.0, 1.0  # precision of the difference of two neighbours, and of d itself (bench/TRIED.md)
_STEPS, _RATE = 30, 0.15  # the rate falls to 0; in pixels of the target


def register(image: Tensor, target: Tensor) -> Tensor:
    """The image with its outlines where the target has them, each image of a batch alone.

    A target of more than half the image's side leaves it as it is.

    Args:
        image: [B, C, H, W] in 0..1. target: what the image should be at low resolution, [B, C, h, w].
    """
    height, width = target.shape[-2:]
    full = (image.shape[-2], image.shape[-1])
    times = min(_TIMES, _LONGEST // max(height, width), full[0] // height, full[1] // width)
    if times < 2:
        return image
    small = downsample(image, size=(times * height, times * width))
    with torch.enable_grad():
        field = _field(small, target)
    return _moved(image, field, (height, width)).clamp(0, 1)


def _field(small: Tensor, target: Tensor) -> Tensor:
    """Displacements of the control points, [B, 2, rows, columns]: across and down, in pixels of the target."""
    size = (target.shape[-2], target.shape[-1])
    rows, columns = (max(2, round(_SHARE * side)) for side in size)
    field = target.new_zeros(len(target), 2, rows, columns).requires_grad_()
    optimizer = torch.optim.Adam([field], lr=_RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)
        error = downsample(_moved(small, field, size), size=size) - target
        objective = _misfit(error) + _roughness(field)
        (field.grad,) = torch.autograd.grad(objective, field)
        optimizer.step()
    return field.detach()


def _misfit(error: Tensor) -> Tensor:
    scale = CAUCHY_SCALE**2
    return error.shape[1] / (2 * _SIGMA**2) * (scale * torch.log1p(error.square().mean(1) / scale)).sum()


def _roughness(field: Tensor) -> Tensor:
    across, down = field.diff(dim=-1), field.diff(dim=-2)
    return _ALPHA / 2 * (across.square().sum() + down.square().sum()) + _BETA / 2 * field.square().sum()


def _moved(image: Tensor, field: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixel p of the result is the image's at p + d(p), d in pixels of a target of this size (height, width).

    Bicubic, since the gradient of bilinear interpolation jumps at whole pixels, where d = 0 begins.
    """
    height, width = image.shape[-2:]
    per_pixel = 2 / field.new_tensor([size[1], size[0]])  # grid_sample's image is 2 wide and 2 high
    displacement = enlarge(field, (height, width)).permute(0, 2, 3, 1) * per_pixel
    down, across = ((torch.arange(side).to(image) + 0.5) * (2 / side) - 1 for side in (height, width))
    identity = torch.stack((across.expand(height, -1), down[:, None].expand(-1, width)), -1)
    return F.grid_sample(image, identity + displacement, mode="bicubic", padding_mode="border", align_corners=False)

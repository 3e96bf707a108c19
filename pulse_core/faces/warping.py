"""Antialiased resampling between a picture and the square of a face in it.

A round trip is nearly lossless: pasting refines by back-projection, so that cropping again gives the face.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..degradations.bicubic import downsample, reflect_index
from .face import side_of

Bounds = tuple[int, int, int, int]  # left, top, right, bottom: whole pixels of a picture

_SAMPLES = 4  # samples a side of a pixel, for its share inside a picture
_MARGIN = 4  # pixels that the filters need around a window
_BLUR = 0.02  # of the reflection outside a picture, in sides of the square
_BACK_PROJECTIONS = 3  # each halves the error of the round trip


def bounds_of(quad: Tensor, margin: int = 0) -> Bounds:
    """The bounding box of a square, in whole pixels."""
    low, high = quad.amin(0).floor().long() - margin, quad.amax(0).ceil().long() + margin
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def crop_square(picture: Tensor, quad: Tensor, size: int) -> Tensor:
    """Crops the square `quad` [4, 2] of a picture [C, H, W] in 0..1 as [C, size, size].

    Outside, the picture is reflected and fades into a blur and the median colour, as in FFHQ; the inside is unchanged.
    """
    if side_of(quad) > 2 * size:  # the last filter needs twice the result's density
        height, width = (math.ceil(length * 2 * size / side_of(quad)) for length in picture.shape[-2:])
        quad = quad * quad.new_tensor([width / picture.shape[-1], height / picture.shape[-2]])
        picture = resize(picture, height, width)
    side = side_of(quad)
    bounds = bounds_of(quad, margin=_MARGIN * max(1, math.ceil(side / size)))
    return _cut(_padded_window(picture, bounds, side), _to_window(quad, bounds), size).clamp(0, 1)


def _cut(part: Tensor, quad: Tensor, size: int) -> Tensor:
    return _resample(part, quad[0], (quad[3] - quad[0]) / size, (quad[1] - quad[0]) / size, (size, size))


def _to_window(quad: Tensor, bounds: Bounds) -> Tensor:
    """The square in coordinates of the window."""
    return quad - quad.new_tensor(bounds[:2])


def paste_square(image: Tensor, quad: Tensor, bounds: Bounds) -> Tensor:
    """Warps an image of the square, [C, S, S] in 0..1, to the pixels in `bounds`: [C, bottom - top, right - left].

    If that shrinks it, iterative back-projection (Irani and Peleg 1991) refines it so that `crop_square` gives the
    image as closely as the pixels allow. The image's border is repeated outside the square.
    """
    local, size = _to_window(quad, bounds), image.shape[-1]
    laid = _lay(image, local, bounds)
    if side_of(quad) < size:
        for _ in range(_BACK_PROJECTIONS):
            laid = laid + _lay(image - _cut(laid, local, size), local, bounds)
    return laid.clamp(0, 1)


def _lay(image: Tensor, quad: Tensor, bounds: Bounds) -> Tensor:
    to_square = _square_axes(quad) * image.shape[-1]
    shape = (bounds[3] - bounds[1], bounds[2] - bounds[0])
    return _resample(image, to_square @ -quad[0], to_square[:, 0], to_square[:, 1], shape)


def square_coordinates(quad: Tensor, bounds: Bounds) -> Tensor:
    """Coordinates of the pixels in `bounds` in the square: [h, w, 2] of (u, v), right and down, 0..1 inside."""
    across = torch.arange(bounds[0], bounds[2], dtype=torch.float64) + 0.5
    down = torch.arange(bounds[1], bounds[3], dtype=torch.float64) + 0.5
    points = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)
    return (points - quad[0]) @ _square_axes(quad).T


def _square_axes(quad: Tensor) -> Tensor:
    """[2, 2]: maps a vector in pixels to sides of the square."""
    axes = torch.stack([quad[3] - quad[0], quad[1] - quad[0]])
    return axes / axes.square().sum(1, keepdim=True)


def share_inside(quad: Tensor, height: int, width: int, size: int) -> Tensor:
    """[size, size] in 0..1: the share of each pixel of the square `quad` inside a picture of this height and width."""
    steps = (torch.arange(_SAMPLES * size, dtype=torch.float64) + 0.5) / (_SAMPLES * size)
    right, down = quad[3] - quad[0], quad[1] - quad[0]
    points = quad[0] + steps[None, :, None] * right + steps[:, None, None] * down
    inside = (points >= 0).all(-1) & (points[..., 0] <= width) & (points[..., 1] <= height)
    return F.avg_pool2d(inside.float()[None], _SAMPLES)[0]


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """[C, H, W] -> [C, height, width], bicubic, antialiased when it shrinks."""
    return F.interpolate(image[None], (height, width), mode="bicubic", align_corners=False, antialias=True)[0]


def _resample(image: Tensor, origin: Tensor, right: Tensor, down: Tensor, shape: tuple[int, int]) -> Tensor:
    """[C, H, W] -> [C, *shape]: pixel (i, j) samples the image at origin + (j + 1/2) right + (i + 1/2) down."""
    density = max(float(right.norm()), float(down.norm()))  # pixels of the image per pixel of the result
    if density <= 1:
        return _sample(image, origin, right, down, shape)
    if density > 2:
        size = [max(1, math.ceil(length * 2 / density)) for length in image.shape[-2:]]
        ratio = origin.new_tensor([size[1] / image.shape[-1], size[0] / image.shape[-2]])
        image, origin, right, down = resize(image, *size), origin * ratio, right * ratio, down * ratio
    return downsample(_sample(image, origin, right / 2, down / 2, (2 * shape[0], 2 * shape[1])), factor=2)


def _sample(image: Tensor, origin: Tensor, right: Tensor, down: Tensor, shape: tuple[int, int]) -> Tensor:
    across = torch.arange(shape[1], dtype=origin.dtype)[None, :, None] + 0.5
    along = torch.arange(shape[0], dtype=origin.dtype)[:, None, None] + 0.5
    size = origin.new_tensor([image.shape[-1], image.shape[-2]])
    points = (origin + across * right + along * down) * 2 / size - 1
    grid = points.to(image.dtype).to(image.device)[None]
    return F.grid_sample(image[None], grid, mode="bicubic", padding_mode="border", align_corners=False)[0]


def _padded_window(picture: Tensor, bounds: Bounds, side: float) -> Tensor:
    """A window of a picture, filled in outside it."""
    left, top, right, bottom = bounds
    height, width = picture.shape[-2:]
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    part = picture[:, torch.from_numpy(reflect_index(rows, height))][
        :, :, torch.from_numpy(reflect_index(columns, width))
    ]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return part
    beyond_y, beyond_x = _beyond(rows, height), _beyond(columns, width)
    distance = torch.from_numpy(np.maximum(beyond_y[:, None], beyond_x[None]) / side).to(part)
    radius = max(1, round(_BLUR * side))
    part = torch.lerp(part, _box_blur(part, radius), (distance / (2 * _BLUR)).clamp(max=1))
    median = picture.flatten(1)[:, :: max(1, height * width // 2**16)].median(dim=1).values
    return torch.lerp(part, median[:, None, None].expand_as(part), (distance * 2).clamp(max=1))


def _beyond(pixels: np.ndarray, length: int) -> np.ndarray:
    """Distance of each pixel outside 0..length-1; 0 inside."""
    return np.maximum(np.maximum(-pixels, pixels - (length - 1)), 0)


def _box_blur(image: Tensor, radius: int) -> Tensor:
    """Three box filters, nearly a Gaussian of this standard deviation."""
    for _ in range(3):
        padded = F.pad(image[None], (radius,) * 4, mode="replicate")
        image = F.avg_pool2d(F.avg_pool2d(padded, (2 * radius + 1, 1), 1), (1, 2 * radius + 1), 1)[0]
    return image

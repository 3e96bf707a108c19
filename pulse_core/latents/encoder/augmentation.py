"""Augmentation: random degradations and backgrounds, which make the encoder robust to them.

A generator's images are clean, with the backgrounds that it knows. Real pictures are small, noisy, compressed, grey or
partly hidden, and their backgrounds must not influence the predicted face.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...degradations.bicubic import downsample
from ...degradations.grey import LUMA
from ...degradations.jpeg import compress
from .network import to_canonical

_CHUNKS = 4  # of a batch, each with a size of its own
_MIN_SIDE = 8  # pixels of the longer side, at least
_COMMON_SIDES = ((32, 0.35), (64, 0.2), (16, 0.1))  # (side, probability); otherwise log-uniform
_FACE_CENTRE, _FACE_AXES = (
    (0.53, 0.5),
    (0.47, 0.36),
)  # vertical and horizontal, as FFHQ aligns faces, relative to the picture
_REPLACED_SHARE = 0.5  # the share of pictures whose background is replaced


def augment(pictures: Tensor, random: torch.Generator) -> Tensor:
    """[B, 3, h, w] in 0..1, on the CPU -> the same shape, as `to_canonical` returns them."""
    pictures = jitter_colours(replace_backgrounds(pictures, random), random)
    return torch.cat([_degraded(part, random) for part in pictures.chunk(_CHUNKS)])


def replace_backgrounds(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Replaces what is outside a soft ellipse around the face, in half of the pictures."""
    count, _, height, width = pictures.shape
    y = ((torch.arange(height) + 0.5) / height)[:, None]
    x = ((torch.arange(width) + 0.5) / width)[None, :]
    centre_y, centre_x = (middle + 0.02 * _normal(random, count) for middle in _FACE_CENTRE)
    radius_y, radius_x = (axis * _uniform(random, count, 0.95, 1.5) for axis in _FACE_AXES)
    distance = (((y - centre_y) / radius_y).square() + ((x - centre_x) / radius_x).square()).sqrt()
    face = torch.sigmoid((1 - distance) / _uniform(random, count, 0.01, 0.08))
    face = torch.where(_bernoulli(random, count, _REPLACED_SHARE), face, 1)
    backgrounds = torch.stack(
        [
            _other_picture(pictures, random),
            _gradient(pictures, y, x, random),
            _stripes(pictures, y, x, random),
            _texture(pictures, random),
            _texture(pictures, random),
        ]
    )
    choice = torch.randint(len(backgrounds), (count,), generator=random)
    background = backgrounds[choice, torch.arange(count)]
    return background + face * (pictures - background)


def _other_picture(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Another picture of the batch, cyclically shifted so that its face is elsewhere."""
    order = torch.randperm(len(pictures), generator=random)
    down, across = (int(torch.randint(-side // 3, side // 3, (), generator=random)) for side in pictures.shape[-2:])
    return pictures[order].roll((down, across), (-2, -1))


def _gradient(pictures: Tensor, y: Tensor, x: Tensor, random: torch.Generator) -> Tensor:
    """A uniform colour, or a linear gradient between two."""
    count = len(pictures)
    first, second = _colours(random, count), _colours(random, count)
    second = torch.where(_bernoulli(random, count, 0.5), first, second)
    tilt = _uniform(random, count, 0, 1)
    return first + (second - first) * (tilt * y + (1 - tilt) * x)


def _stripes(pictures: Tensor, y: Tensor, x: Tensor, random: torch.Generator) -> Tensor:
    count = len(pictures)
    angle, cycles = _uniform(random, count, 0, math.pi), _uniform(random, count, 1, 12)
    phase, contrast = _uniform(random, count, 0, 2 * math.pi), _uniform(random, count, 1, 12)
    wave = torch.sin(2 * math.pi * cycles * (angle.sin() * y + angle.cos() * x) + phase)
    first, second = _colours(random, count), _colours(random, count)
    return first + (second - first) * torch.sigmoid(contrast * wave)


def _texture(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Blobs, blocks or bars of random colours: noise on a grid whose size differs between chunks."""
    parts = []
    for part in pictures.chunk(_CHUNKS):
        count, size = len(part), (part.shape[-2], part.shape[-1])
        grid = [int(torch.randint(1, 1 + side // 2, (), generator=random)) for side in size]
        noise = torch.randn(count, 3, grid[0], grid[1], generator=random)
        noise = noise.lerp(noise.mean(1, keepdim=True), _uniform(random, count, 0, 1))
        is_smooth = bool(torch.randint(2, (), generator=random))
        noise = F.interpolate(noise, size, mode="bilinear") if is_smooth else F.interpolate(noise, size)
        parts.append((_colours(random, count) + _uniform(random, count, 0.05, 0.4) * noise).clamp(0, 1))
    return torch.cat(parts)


def jitter_colours(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Randomly changes brightness, contrast and tint, or turns to grey."""
    count = len(pictures)
    mean = pictures.mean((-3, -2, -1), keepdim=True)
    jittered = (pictures - mean) * _uniform(random, count, 0.6, 1.3) + mean + 0.08 * _normal(random, count)
    jittered = jittered * (1 + 0.05 * torch.randn(count, 3, 1, 1, generator=random))
    pictures = torch.where(_bernoulli(random, count, 0.4), jittered.clamp(0, 1), pictures)
    grey = torch.tensordot(pictures, torch.tensor(LUMA).to(pictures), dims=([1], [0]))[:, None]
    return torch.where(_bernoulli(random, count, 0.1), grey, pictures)


def _degraded(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Blurs, downscales, adds noise, compresses, hides a part, rounds to 8 bits, and scales back to the full size."""
    count, full = len(pictures), (pictures.shape[-2], pictures.shape[-1])
    if float(torch.rand((), generator=random)) < 0.2:
        pictures = _blurred(pictures, float(_uniform(random, 1, 0.3, 2.0)))
    small = resize_longer_side(pictures, _draw_side(random, max(full)), float(torch.rand((), generator=random)) < 0.3)
    strength = torch.where(_bernoulli(random, count, 0.25), _uniform(random, count, 0, 0.2), 0.0)
    small = small + strength * torch.randn(small.shape, generator=random)
    if float(torch.rand((), generator=random)) < 0.15:
        small = compress(small.clamp(0, 1), int(torch.randint(5, 96, (), generator=random)))
    hidden = _rectangles(count, (small.shape[-2], small.shape[-1]), random) & _bernoulli(random, count, 0.1)
    small = torch.where(hidden, 0.5, small)
    return to_canonical(quantise(small), full)


def resize_longer_side(pictures: Tensor, side: int, by_area: bool = False) -> Tensor:
    """[B, 3, h, w] -> a longer side of `side` pixels, by bicubic or area downsampling."""
    longest = max(pictures.shape[-2:])
    size = (max(1, round(side * pictures.shape[-2] / longest)), max(1, round(side * pictures.shape[-1] / longest)))
    return F.interpolate(pictures, size, mode="area") if by_area else downsample(pictures, size=size)


def quantise(pictures: Tensor) -> Tensor:
    """Clamps to 0..1 and rounds to 8 bits."""
    return pictures.clamp(0, 1).mul(255).round().div(255)


def _draw_side(random: torch.Generator, largest: int) -> int:
    share = float(torch.rand((), generator=random))
    for side, part in _COMMON_SIDES:
        if share < part:
            return min(side, largest)
        share -= part
    low, high = math.log(_MIN_SIDE), math.log(largest)
    return round(math.exp(low + (high - low) * float(torch.rand((), generator=random))))


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    taps = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2)).to(pictures)
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pictures, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, taps, groups=3), taps.mT, groups=3)


def _rectangles(count: int, size: tuple[int, int], random: torch.Generator) -> Tensor:
    """[count, 1, h, w], true inside one random rectangle per picture."""
    masks = []
    for side in size:
        middle, half = _uniform(random, count, 0, 1), _uniform(random, count, 0.05, 0.3)
        masks.append(((torch.arange(side) + 0.5) / side - middle).abs() < half)
    return masks[0].mT & masks[1]


def _bernoulli(random: torch.Generator, count: int, probability: float) -> Tensor:
    """[count, 1, 1, 1], each true with this probability."""
    return torch.rand(count, 1, 1, 1, generator=random) < probability


def _uniform(random: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """[count, 1, 1, 1], uniform in low..high."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=random)


def _normal(random: torch.Generator, count: int) -> Tensor:
    return torch.randn(count, 1, 1, 1, generator=random)


def _colours(random: torch.Generator, count: int) -> Tensor:
    """[count, 3, 1, 1], random colours of random saturation."""
    grey = torch.rand(count, 1, 1, 1, generator=random)
    return grey + _uniform(random, count, 0, 1) * (torch.rand(count, 3, 1, 1, generator=random) - grey)

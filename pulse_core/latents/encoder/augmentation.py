"""What pictures suffer before an encoder sees them, so that it learns to look through it.

The generator's own pictures are clean, and behind its faces is what it knows. Real ones are small, noisy, compressed,
grey, partly hidden, and before flags and bookshelves, which must not lead the guess of the face.
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

_PARTS = 4  # of a batch, each with its own size
_SMALLEST = 8  # pixels of the longer side
_USUAL = ((32, 0.35), (64, 0.2), (16, 0.1))  # sizes, and how often they come; else any
_FACE_CENTRE, _FACE_AXES = (0.53, 0.5), (0.47, 0.36)  # down and across, as FFHQ aligns faces
_STRANGE = 0.5  # the share of pictures with another background


def augmented(pictures: Tensor, random: torch.Generator) -> Tensor:
    """[B, 3, h, w] in 0..1, on the CPU -> the same shape, as an encoder's `to_canonical` would give them."""
    pictures = recoloured(before_strange_backgrounds(pictures, random), random)
    return torch.cat([_degraded(part, random) for part in pictures.chunk(_PARTS)])


def before_strange_backgrounds(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Half of the pictures get something else outside of a soft ellipse about the face."""
    count, _, height, width = pictures.shape
    y = ((torch.arange(height) + 0.5) / height)[:, None]
    x = ((torch.arange(width) + 0.5) / width)[None, :]
    centre_y, centre_x = (middle + 0.02 * _normal(random, count) for middle in _FACE_CENTRE)
    grown_y, grown_x = (axis * _between(random, count, 0.95, 1.5) for axis in _FACE_AXES)
    distance = (((y - centre_y) / grown_y).square() + ((x - centre_x) / grown_x).square()).sqrt()
    face = torch.sigmoid((1 - distance) / _between(random, count, 0.01, 0.08))
    face = torch.where(_sometimes(random, count, _STRANGE), face, 1)
    backgrounds = torch.stack(
        [
            _another(pictures, random),
            _gradient(pictures, y, x, random),
            _stripes(pictures, y, x, random),
            _texture(pictures, random),
            _texture(pictures, random),
        ]
    )
    chosen = torch.randint(len(backgrounds), (count,), generator=random)
    behind = backgrounds[chosen, torch.arange(count)]
    return behind + face * (pictures - behind)


def _another(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Another picture of the batch, shifted, so that what is beside the face is not always beside a face."""
    order = torch.randperm(len(pictures), generator=random)
    down, across = (int(torch.randint(-side // 3, side // 3, (), generator=random)) for side in pictures.shape[-2:])
    return pictures[order].roll((down, across), (-2, -1))


def _gradient(pictures: Tensor, y: Tensor, x: Tensor, random: torch.Generator) -> Tensor:
    """One colour, or from one to another."""
    count = len(pictures)
    first, second = _colours(random, count), _colours(random, count)
    second = torch.where(_sometimes(random, count, 0.5), first, second)
    tilt = _between(random, count, 0, 1)
    return first + (second - first) * (tilt * y + (1 - tilt) * x)


def _stripes(pictures: Tensor, y: Tensor, x: Tensor, random: torch.Generator) -> Tensor:
    count = len(pictures)
    angle, cycles = _between(random, count, 0, math.pi), _between(random, count, 1, 12)
    phase, contrast = _between(random, count, 0, 2 * math.pi), _between(random, count, 1, 12)
    wave = torch.sin(2 * math.pi * cycles * (angle.sin() * y + angle.cos() * x) + phase)
    first, second = _colours(random, count), _colours(random, count)
    return first + (second - first) * torch.sigmoid(contrast * wave)


def _texture(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Blots, blocks or bars of random colours, a different number of them across and down for each part."""
    parts = []
    for part in pictures.chunk(_PARTS):
        count, size = len(part), (part.shape[-2], part.shape[-1])
        grid = [int(torch.randint(1, 1 + side // 2, (), generator=random)) for side in size]
        noise = torch.randn(count, 3, grid[0], grid[1], generator=random)
        noise = noise.lerp(noise.mean(1, keepdim=True), _between(random, count, 0, 1))
        is_smooth = bool(torch.randint(2, (), generator=random))
        noise = F.interpolate(noise, size, mode="bilinear") if is_smooth else F.interpolate(noise, size)
        parts.append((_colours(random, count) + _between(random, count, 0.05, 0.4) * noise).clamp(0, 1))
    return torch.cat(parts)


def recoloured(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Some lighter, darker, flatter, of another tint, or grey."""
    count = len(pictures)
    mean = pictures.mean((-3, -2, -1), keepdim=True)
    other = (pictures - mean) * _between(random, count, 0.6, 1.3) + mean + 0.08 * _normal(random, count)
    other = other * (1 + 0.05 * torch.randn(count, 3, 1, 1, generator=random))
    pictures = torch.where(_sometimes(random, count, 0.4), other.clamp(0, 1), pictures)
    grey = torch.tensordot(pictures, torch.tensor(LUMA).to(pictures), dims=([1], [0]))[:, None]
    return torch.where(_sometimes(random, count, 0.1), grey, pictures)


def _degraded(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Blurred, made small, noisy, compressed, partly hidden; in 8 bits, and back to the size they had."""
    count, full = len(pictures), (pictures.shape[-2], pictures.shape[-1])
    if float(torch.rand((), generator=random)) < 0.2:
        pictures = _blurred(pictures, float(_between(random, 1, 0.3, 2.0)))
    small = scaled(pictures, _draw_side(random, max(full)), float(torch.rand((), generator=random)) < 0.3)
    strength = torch.where(_sometimes(random, count, 0.25), _between(random, count, 0, 0.2), 0.0)
    small = small + strength * torch.randn(small.shape, generator=random)
    if float(torch.rand((), generator=random)) < 0.15:
        small = compress(small.clamp(0, 1), int(torch.randint(5, 96, (), generator=random)))
    hidden = _rectangles(count, (small.shape[-2], small.shape[-1]), random) & _sometimes(random, count, 0.1)
    small = torch.where(hidden, 0.5, small)
    return to_canonical(rounded(small), full)


def scaled(pictures: Tensor, side: int, by_area: bool = False) -> Tensor:
    """[B, 3, h, w] -> the longer side `side` pixels, by bicubic or area averaging; h and w themselves stay as is."""
    longest = max(pictures.shape[-2:])
    size = (max(1, round(side * pictures.shape[-2] / longest)), max(1, round(side * pictures.shape[-1] / longest)))
    return F.interpolate(pictures, size, mode="area") if by_area else downsample(pictures, size=size)


def rounded(pictures: Tensor) -> Tensor:
    """To 8 bits."""
    return pictures.clamp(0, 1).mul(255).round().div(255)


def _draw_side(random: torch.Generator, largest: int) -> int:
    share = float(torch.rand((), generator=random))
    for side, part in _USUAL:
        if share < part:
            return min(side, largest)
        share -= part
    low, high = math.log(_SMALLEST), math.log(largest)
    return round(math.exp(low + (high - low) * float(torch.rand((), generator=random))))


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    taps = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2)).to(pictures)
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pictures, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, taps, groups=3), taps.mT, groups=3)


def _rectangles(count: int, size: tuple[int, int], random: torch.Generator) -> Tensor:
    """[count, 1, h, w], true inside of one rectangle each."""
    inside = []
    for side in size:
        middle, half = _between(random, count, 0, 1), _between(random, count, 0.05, 0.3)
        inside.append(((torch.arange(side) + 0.5) / side - middle).abs() < half)
    return inside[0].mT & inside[1]


def _sometimes(random: torch.Generator, count: int, share: float) -> Tensor:
    """[count, 1, 1, 1], true for about this share."""
    return torch.rand(count, 1, 1, 1, generator=random) < share


def _between(random: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """[count, 1, 1, 1], uniform."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=random)


def _normal(random: torch.Generator, count: int) -> Tensor:
    return torch.randn(count, 1, 1, 1, generator=random)


def _colours(random: torch.Generator, count: int) -> Tensor:
    """[count, 3, 1, 1], from grey to vivid."""
    grey = torch.rand(count, 1, 1, 1, generator=random)
    return grey + _between(random, count, 0, 1) * (torch.rand(count, 3, 1, 1, generator=random) - grey)

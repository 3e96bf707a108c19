"""Numbers that tell how a picture was made: its spectrum, its flat places, its edges and its JPEG blocks.

All look at the middle of the picture most, where an aligned face is. None needs to know the clean picture.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..degradations.grey import LUMA
from ..degradations.jpeg import BLOCK, DCT, steps
from ..degradations.separable import like

CENTRE, AXES = (0.5, 0.53), (0.48, 0.47)  # of the ellipse that is looked at, in sides: x, y
_BANDS, _A_OCTAVE = 19, 3  # rings of the spectrum, from its finest frequency down; how many make an octave
_LEVELS = 3  # the picture, its half and its quarter
_SHARES = (0.1, 0.3, 0.5, 0.8)  # of the blocks that are calmer
_REACHES = (1, 2, 4, 8, 16)  # pixels between those that an edge is looked for in
_LEAST = 1e-7  # power that is as good as none: a tenth of what rounding to 8 bits adds
_QUALITIES = (*range(5, 90, 3), *range(90, 99))
_LOW = 4  # the frequencies of a block, across and down together, that quality is told from
_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # Cb and Cr of R, G, B (JFIF)
COUNT = _BANDS + 1 + _LEVELS * 2 * len(_SHARES) + len(_REACHES) + 4 + 3 + 2 + 5


@lru_cache(maxsize=8)
def window(side: int) -> Tensor:
    """[side, side]: 1 in the middle of the face, falling to 0 at the ellipse."""
    place = (torch.arange(side) + 0.5) / side
    across, down = (place - CENTRE[0]) / AXES[0], (place - CENTRE[1]) / AXES[1]
    radius = (across[None].square() + down[:, None].square()).sqrt().clamp(max=1)
    return torch.cos(math.pi / 2 * radius).square()


@lru_cache(maxsize=8)
def radii(side: int) -> Tensor:
    """[side, side // 2 + 1]: cycles per pixel of what `rfft2` gives."""
    return (torch.fft.fftfreq(side)[:, None].square() + torch.fft.rfftfreq(side)[None].square()).sqrt()


def spectrum(plane: Tensor) -> Tensor:
    """[S, S] -> complex [S, S // 2 + 1] of the windowed plane; white noise of variance v has the mean power v."""
    weight = window(plane.shape[-1])
    centred = (plane - (plane * weight).sum() / weight.sum()) * weight
    return torch.fft.rfft2(centred) / weight.square().sum().sqrt()


@lru_cache(maxsize=8)
def _rings(side: int) -> tuple[Tensor, Tensor]:
    """For each bin the number of its band (the corners beyond 1/2 are the last but one), and how many each has."""
    octaves = torch.log2(0.5 / radii(side).clamp(min=1e-6))
    band = (octaves * _A_OCTAVE).floor().clamp(max=_BANDS).long()
    band = torch.where(octaves < 0, torch.full_like(band, _BANDS), band)
    band = torch.where(octaves * _A_OCTAVE >= _BANDS, torch.full_like(band, _BANDS + 1), band)
    return band.flatten(), torch.bincount(band.flatten(), minlength=_BANDS + 2).float()


def _powers(luma: Tensor) -> list[float]:
    """The logarithm of the mean power in each band, finest first, then in the corners."""
    band, count = _rings(luma.shape[-1])
    power = torch.zeros(_BANDS + 2).index_add_(0, band, spectrum(luma).abs().square().flatten())
    logs = (power / count.clamp(min=1)).clamp(min=_LEAST).log10().tolist()
    for number in range(1, _BANDS):  # small pictures have no frequencies so low
        if count[number] == 0:
            logs[number] = logs[number - 1]
    return logs[: _BANDS + 1]


def _quantiles(values: Tensor, shares: tuple[float, ...]) -> list[float]:
    ordered = values.flatten().sort().values
    return [float(ordered[round(share * (len(ordered) - 1))]) for share in shares]


@lru_cache(maxsize=32)
def _inside(height: int, width: int) -> Tensor:
    across = ((torch.arange(width) + 0.5) / width - CENTRE[0]) / AXES[0]
    down = ((torch.arange(height) + 0.5) / height - CENTRE[1]) / AXES[1]
    return across[None].square() + down[:, None].square() <= 1


_SECOND, _SMOOTH = torch.tensor([1.0, -2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])


def _calm(planes: Tensor, shares: tuple[float, ...]) -> list[list[float]]:
    """[C, h, w] -> the logarithm of the diagonal and the straight fine deviation of its blocks, at each share.

    White noise of deviation s has s in both, however much of it is in a block.
    """
    kernels = [torch.outer(_SECOND, _SECOND), torch.outer(_SECOND, _SMOOTH), torch.outer(_SMOOTH, _SECOND)]
    kernel = torch.stack([each / each.norm() for each in kernels])[:, None]
    energy = F.conv2d(planes[:, None], kernel).square().mean(0)
    energy = torch.stack([energy[0], energy[1:].mean(0)])
    block = 8 if energy.shape[-1] >= 64 else 4 if energy.shape[-1] >= 16 else 2
    means = F.avg_pool2d(energy[None], min(block, *energy.shape[1:]))[0]
    chosen = means[:, _inside(*means.shape[1:])]
    return [_quantiles(each.clamp(min=_LEAST).log10(), shares) for each in chosen]


def _edges(luma: Tensor) -> list[float]:
    """How steep the steepest places are over each of the reaches."""
    found: list[float] = []
    every = max(1, luma.shape[-1] // 32)  # lines enough
    for reach in _REACHES:
        if reach >= luma.shape[-1] // 2:
            found.append(found[-1])
            continue
        steep = torch.cat([(p[:, reach:] - p[:, :-reach])[::every].flatten() for p in (luma, luma.T)])
        found.append(math.log10(max(_quantiles(steep.abs(), (0.98,))[0], 1e-3)))
    return found


def blockiness(luma: Tensor) -> tuple[float, int]:
    """How much more the columns differ at every eighth border than elsewhere (0: not at all), and the first border."""
    step = (luma[:, 1:] - luma[:, :-1]).abs()
    excess = step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2
    columns = excess.mean(0)
    count = len(columns) // BLOCK
    if count < 2:
        return 0.0, 0
    phases = columns[: count * BLOCK].unflatten(0, (count, BLOCK)).mean(0)
    best = int(phases.argmax())
    rest = torch.cat([phases[:best], phases[best + 1 :]])
    return float((phases[best] - rest.median()) / step.mean().clamp(min=1e-3)), (best + 2) % BLOCK


@lru_cache(maxsize=1)
def _steps() -> Tensor:
    """[qualities, frequencies]: the steps of the low frequencies, and which these are."""
    return torch.stack([torch.from_numpy(steps("luma", quality)) for quality in _QUALITIES])[:, _low()].float()


@lru_cache(maxsize=1)
def _low() -> Tensor:
    place = torch.arange(BLOCK)
    order = place[None] + place[:, None]
    return (order > 0) & (order <= _LOW)


def jpeg_quality(luma: Tensor, phase: tuple[int, int]) -> tuple[float, int]:
    """How well the blocks from this (row, column) on fit a table of quantisation: 0 not at all, 1 wholly; and which."""
    part = 255 * luma[phase[0] :, phase[1] :] - 128
    height, width = (length // BLOCK * BLOCK for length in part.shape)
    if height * width < 9 * BLOCK**2:
        return 0.0, 0
    blocks = part[:height, :width].unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK)).transpose(1, 2).flatten(0, 1)
    blocks = blocks[:: max(1, len(blocks) // 400)]
    dct = like(DCT, part)
    values = (dct @ blocks @ dct.mT)[:, _low()]
    table = _steps()
    shares = values[None] / table[:, None]
    told = shares.abs() > 0.5  # what is rounded to zero fits any table
    fit = (torch.cos(2 * math.pi * shares) * told).sum((1, 2))
    count = told.sum((1, 2))
    scores = torch.where(count >= 24, fit / count.clamp(min=1), torch.zeros(()))
    best = float(scores.max())
    coarsest = int((scores >= best - 0.03).nonzero()[0])  # half a step fits, too
    return best, _QUALITIES[coarsest]


def chroma(picture: Tensor) -> Tensor:
    """[3, H, W] -> [2, H, W]: Cb and Cr, 0 for grey."""
    return torch.einsum("dc,chw->dhw", picture.new_tensor(_CHROMA), picture)


def luma_of(picture: Tensor) -> Tensor:
    """[3, H, W] -> [H, W]."""
    return torch.einsum("c,chw->hw", picture.new_tensor(LUMA), picture)


def jpeg_blocks(luma: Tensor) -> tuple[float, int, float]:
    """What `jpeg_quality` says where the blocks seem to begin, and how much they show."""
    (across, column), (down, row) = blockiness(luma), blockiness(luma.T)
    found = max(jpeg_quality(luma, phase) for phase in {(0, 0), (row, column)})
    return *found, (across + down) / 2


def features(picture: Tensor) -> Tensor:
    """[3, S, S] float32 in 0..1 -> [COUNT]."""
    side = picture.shape[-1]
    luma, colours = luma_of(picture), chroma(picture)
    found = _powers(luma)
    planes, colour_levels = luma, []
    for level in range(_LEVELS):
        if level:
            smaller = planes.shape[-1] // 2 >= 10
            planes = F.avg_pool2d(planes[None], 2)[0] if smaller else planes
            colours = F.avg_pool2d(colours, 2) if smaller else colours
        found += [value for each in _calm(planes[None], _SHARES) for value in each]
        if level < 2:
            colour_levels += _calm(colours, (0.3, 0.8))[0]
    found += _edges(luma) + colour_levels
    fit, quality, blocks = jpeg_blocks(luma)
    found += [fit, fit * quality / 100, min(max(blocks, -1.0), 3.0)]
    inside = luma[_inside(side, side)]
    found += [float((inside > 0.985).float().mean()), float((inside < 0.015).float().mean())]
    shades = F.avg_pool2d(chroma(picture), max(1, side // 16)).square().mean().sqrt()
    found += [math.log2(side), math.log2(side) ** 2 / 10, float(inside.std()), float(inside.mean()), float(shades)]
    return torch.tensor(found)

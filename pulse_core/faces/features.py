"""No-reference features of a picture's degradation: its spectrum, flat regions, edges and JPEG blocks.

All are weighted towards the centre of the picture, where an aligned face is.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..degradations.grey import LUMA
from ..degradations.jpeg import BLOCK, DCT, quantisation_table
from ..degradations.separable import like

CENTRE, AXES = (0.5, 0.53), (0.48, 0.47)  # of the ellipse of the face, in sides: x, y
_BANDS, _PER_OCTAVE = 19, 3  # bands of the spectrum, from the highest frequency down; bands per octave
_LEVELS = 3  # the picture and two halvings
_SHARES = (0.1, 0.3, 0.5, 0.8)  # quantiles of the blocks' power
_DISTANCES = (1, 2, 4, 8, 16)  # pixels over which edges are differenced
_HARMONICS = (1, 2, 3)  # of a grid of 8 pixels, possibly rotated and resized by a few percent
_MIN_POWER = 1e-7  # a tenth of the power of 8-bit quantisation noise
_QUALITIES = (*range(5, 90, 3), *range(90, 99))  # a coarse grid, for the network
ALL_QUALITIES = tuple(range(5, 99))
_LOW = 4  # maximum sum of the two frequencies of a DCT coefficient that is used
_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # Cb and Cr of R, G, B (JFIF)
NUM_FEATURES = _BANDS + 1 + _LEVELS * (2 * len(_SHARES) + 4) + len(_DISTANCES) + 8 + 3 + len(_HARMONICS) + 2 + 5


@lru_cache(maxsize=8)
def window(side: int) -> Tensor:
    """[side, side]: 1 in the centre of the face, falling to 0 at the ellipse."""
    place = (torch.arange(side) + 0.5) / side
    across, down = (place - CENTRE[0]) / AXES[0], (place - CENTRE[1]) / AXES[1]
    radius = (across[None].square() + down[:, None].square()).sqrt().clamp(max=1)
    return torch.cos(math.pi / 2 * radius).square()


@lru_cache(maxsize=8)
def radii(side: int) -> Tensor:
    """[side, side // 2 + 1]: the frequencies of `rfft2`, in cycles per pixel."""
    return (torch.fft.fftfreq(side)[:, None].square() + torch.fft.rfftfreq(side)[None].square()).sqrt()


def spectrum(plane: Tensor) -> Tensor:
    """[S, S] -> complex [S, S // 2 + 1] of the windowed plane; white noise of variance v has mean power v."""
    weight = window(plane.shape[-1])
    centred = (plane - (plane * weight).sum() / weight.sum()) * weight
    return torch.fft.rfft2(centred) / weight.square().sum().sqrt()


@lru_cache(maxsize=8)
def _rings(side: int) -> tuple[Tensor, Tensor]:
    """The band of each bin (the corners beyond 1/2 are the last but one), and the number of bins in each band."""
    octaves = torch.log2(0.5 / radii(side).clamp(min=1e-6))
    band = (octaves * _PER_OCTAVE).floor().clamp(max=_BANDS).long()
    band = torch.where(octaves < 0, torch.full_like(band, _BANDS), band)
    band = torch.where(octaves * _PER_OCTAVE >= _BANDS, torch.full_like(band, _BANDS + 1), band)
    return band.flatten(), torch.bincount(band.flatten(), minlength=_BANDS + 2).float()


def _powers(luma: Tensor) -> list[float]:
    """Log mean power of each band, highest frequency first, then of the corners."""
    band, count = _rings(luma.shape[-1])
    power = torch.zeros(_BANDS + 2).index_add_(0, band, spectrum(luma).abs().square().flatten())
    logs = (power / count.clamp(min=1)).clamp(min=_MIN_POWER).log10().tolist()
    for number in range(1, _BANDS):  # small pictures lack the lowest frequencies
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


_SECOND, _SMOOTH = (
    torch.tensor(taps, dtype=torch.float32, device="cpu") for taps in ([1.0, -2.0, 1.0], [1.0, 2.0, 1.0])
)


def _fine(planes: Tensor) -> tuple[Tensor, int]:
    """[C, h, w] -> mean power of diagonal and axis-aligned fine detail in blocks, [2, rows, columns]; the block size.

    White noise of variance v gives v in both.
    """
    kernels = [torch.outer(_SECOND, _SECOND), torch.outer(_SECOND, _SMOOTH), torch.outer(_SMOOTH, _SECOND)]
    kernel = torch.stack([each / each.norm() for each in kernels])[:, None]
    power = F.conv2d(planes[:, None], kernel).square().mean(0)
    power = torch.stack([power[0], power[1:].mean(0)])
    block = 8 if power.shape[-1] >= 64 else 4 if power.shape[-1] >= 16 else 2
    block = min(block, *power.shape[1:])
    return F.avg_pool2d(power[None], block)[0], block


def _flattest(luma: Tensor, block: int, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """[rows, columns] each: the flattest quarter and half of the face's blocks.

    Blocks that are nearly black or white come last, as noise is clipped there.
    """
    means = F.avg_pool2d(luma[None, None, 1:-1, 1:-1], block)[:, :, : shape[0], : shape[1]]
    wide = F.pad(means, (1, 1, 1, 1), mode="replicate")
    change = (F.max_pool2d(wide, 3, 1) + F.max_pool2d(-wide, 3, 1))[0, 0]
    change = change + ((means[0, 0] < 0.03) | (means[0, 0] > 0.97)).float()
    inside = _inside(*change.shape)
    ordered = change[inside].sort().values
    quarter, half = (float(ordered[int(share * (len(ordered) - 1))]) for share in (0.25, 0.5))
    return inside & (change <= quarter), inside & (change <= half)


def _fine_powers(luma: Tensor, colours: Tensor) -> tuple[list[float], list[float]]:
    """Log power of fine detail, of the luma [h, w] and of the chroma [2, h, w].

    The quantiles _SHARES over the blocks, and the means over the flattest blocks.
    """
    own, block = _fine(luma[None])
    places = _flattest(luma, block, (own.shape[1], own.shape[2]))
    inside = _inside(own.shape[1], own.shape[2])
    found = [value for each in own for value in _quantiles(each[inside].clamp(min=_MIN_POWER).log10(), _SHARES)]
    found += [_log(each[place].mean()) for each in own for place in places]
    tinted = _fine(colours)[0]
    other = _quantiles(tinted[0][inside].clamp(min=_MIN_POWER).log10(), (0.3, 0.8))
    return found, other + [_log(each[places[0]].mean()) for each in tinted]


def _log(value: Tensor) -> float:
    return math.log10(max(float(value), _MIN_POWER))


def _edges(luma: Tensor) -> list[float]:
    """Log of the 98 % quantile of differences over each distance."""
    found: list[float] = []
    every = max(1, luma.shape[-1] // 32)  # a subset of lines is enough
    for distance in _DISTANCES:
        if distance >= luma.shape[-1] // 2:
            found.append(found[-1])
            continue
        steep = torch.cat([(p[:, distance:] - p[:, :-distance])[::every].flatten() for p in (luma, luma.T)])
        found.append(math.log10(max(_quantiles(steep.abs(), (0.98,))[0], 1e-3)))
    return found


def blockiness(luma: Tensor) -> tuple[float, int]:
    """Excess of the differences at every eighth column over the others (0: none), and the first such column."""
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


def _lattice(luma: Tensor) -> list[float]:
    """Log strength of a grid of JPEG blocks at each harmonic, also if the picture was rotated slightly since.

    Block borders are steps larger than their neighbours, and repeat every 8 pixels.
    """
    side = luma.shape[-1] - 3
    radius, weight = radii(side), window(side)
    straight = torch.fft.rfftfreq(side)[None] > 0.85 * radius
    found = torch.zeros(len(_HARMONICS))
    for plane in (luma, luma.T):
        step = (plane[:, 1:] - plane[:, :-1]).abs()
        excess = (step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2).clamp(-0.02, 0.02)[:side]
        power = torch.fft.rfft2(excess * weight).abs().square()
        for number, harmonic in enumerate(_HARMONICS):
            ring = straight & (radius > 0.9 * harmonic / BLOCK) & (radius < 1.1 * harmonic / BLOCK)
            if bool(ring.any()):
                ring_power = power[ring]
                found[number] += (
                    float((ring_power.max() / ring_power.median().clamp(min=1e-12)).clamp(min=1).log10()) / 2
                )
    return found.tolist()


@lru_cache(maxsize=2)
def _steps(qualities: tuple[int, ...]) -> Tensor:
    """[qualities, frequencies]: quantisation steps of the low frequencies."""
    return torch.stack([torch.from_numpy(quantisation_table("luma", quality)) for quality in qualities])[
        :, _low()
    ].float()


@lru_cache(maxsize=1)
def _low() -> Tensor:
    place = torch.arange(BLOCK)
    order = place[None] + place[:, None]
    return (order > 0) & (order <= _LOW)


def jpeg_quality(luma: Tensor, phase: tuple[int, int], qualities: tuple[int, ...]) -> tuple[float, int]:
    """Fit (0..1) of the blocks from this (row, column) on to the best quantisation table, and its quality."""
    part = 255 * luma[phase[0] :, phase[1] :] - 128
    height, width = (length // BLOCK * BLOCK for length in part.shape)
    if height * width < 9 * BLOCK**2:
        return 0.0, 0
    blocks = rearrange(part[:height, :width], "(rows y) (cols x) -> (rows cols) y x", y=BLOCK, x=BLOCK)
    blocks = blocks[:: max(1, len(blocks) // 400)]
    dct = like(DCT, part)
    values = (dct @ blocks @ dct.mT)[:, _low()]
    table = _steps(qualities)
    shares = values[None] / table[:, None]
    nonzero = shares.abs() > 0.5  # zeros fit any table
    fit = (torch.cos(2 * math.pi * shares) * nonzero).sum((1, 2))
    count = nonzero.sum((1, 2))
    scores = torch.where(count >= 24, fit / count.clamp(min=1), torch.zeros(()))
    best = float(scores.max())
    coarsest = int((scores >= best - 0.03).nonzero()[0])  # multiples of a step fit, too
    return best, qualities[coarsest]


def chroma(picture: Tensor) -> Tensor:
    """[3, H, W] -> [2, H, W]: Cb and Cr, 0 for grey."""
    return torch.einsum("dc,chw->dhw", picture.new_tensor(_CHROMA), picture)


def luma_of(picture: Tensor) -> Tensor:
    """[3, H, W] -> [H, W]."""
    return torch.einsum("c,chw->hw", picture.new_tensor(LUMA), picture)


def jpeg_blocks(luma: Tensor, qualities: tuple[int, ...] = ALL_QUALITIES) -> tuple[float, int, float]:
    """`jpeg_quality` at the origin or at the detected block grid, and the blockiness."""
    (across, column), (down, row) = blockiness(luma), blockiness(luma.T)
    found = max(jpeg_quality(luma, phase, qualities) for phase in {(0, 0), (row, column)})
    return *found, (across + down) / 2


def features(picture: Tensor) -> Tensor:
    """[3, S, S] float32 in 0..1 -> [NUM_FEATURES]."""
    side = picture.shape[-1]
    luma, colours = luma_of(picture), chroma(picture)
    found = _powers(luma)
    plane, all_chroma = luma, []
    for level in range(_LEVELS):
        if level and plane.shape[-1] // 2 >= 10:
            plane, colours = F.avg_pool2d(plane[None], 2)[0], F.avg_pool2d(colours, 2)
        luma_features, chroma_features = _fine_powers(plane, colours)
        found += luma_features
        all_chroma += chroma_features if level < 2 else []
    found += _edges(luma) + all_chroma
    fit, quality, blocks = jpeg_blocks(luma, _QUALITIES)
    found += [fit, fit * quality / 100, min(max(blocks, -1.0), 3.0), *_lattice(luma)]
    inside = luma[_inside(side, side)]
    found += [float((inside > 0.985).float().mean()), float((inside < 0.015).float().mean())]
    shades = F.avg_pool2d(chroma(picture), max(1, side // 16)).square().mean().sqrt()
    found += [math.log2(side), math.log2(side) ** 2 / 10, float(inside.std()), float(inside.mean()), float(shades)]
    return torch.tensor(found)

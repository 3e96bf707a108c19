"""Synthetic cases: clean faces, degraded at random, with the ground truth."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pulse_core.degradations.bicubic import downsample, enlarge
from pulse_core.degradations.blur import GaussianBlur
from pulse_core.degradations.grey import Grey
from pulse_core.degradations.jpeg import JPEG
from pulse_core.faces.estimation import HALVINGS, floor_size
from pulse_core.faces.features import luma_of, radii, spectrum, window
from pulse_core.faces.warping import crop_square

_RINGS = 4  # per octave of the spectrum
_FINE, _COUNT = 32, 32 * 12  # rings per octave for which sums are stored, and their total
_GAIN, _COHERENCE = 0.7, 0.5  # smallest gain and smallest squared coherence of a resolved octave
_FINEST, _COARSEST = 0.25, 16.0  # sigma in pixels


@dataclass
class Case:
    """A degraded picture and its truth.

    picture: [3, S, S] in 0..1. kinds: its degradations. effective_size: not rounded to SIZES.
    blur: sigma in pixels of the Gaussian that is closest to all linear degradations together.
    noise: root mean square of the difference from the blurred picture without noise, clamping and JPEG rounding; after
    halving 0, 1, 2, ... times. jpeg: the quality, if JPEG was the last degradation.
    """

    picture: Tensor
    kinds: tuple[str, ...]
    effective_size: float
    blur: float
    noise: tuple[float, ...]
    jpeg: int | None
    grey: bool
    recipe: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The effective size, rounded down to SIZES."""
        return floor_size(self.effective_size, self.picture.shape[-1])


@lru_cache(maxsize=4)
def _bins(side: int) -> Tensor:
    """The ring of each Fourier bin: rings of 1/32 octave, from the highest frequency down."""
    octaves = torch.log2(0.5 / radii(side).clamp(min=1e-6))
    return (octaves * _FINE).floor().add(1).clamp(0, _COUNT).long().flatten()  # 0: the corners


class Comparison:
    """Gain and coherence between two pictures [S, S] by frequency, in the window of the face."""

    def __init__(self, clean: Tensor, other: Tensor):
        self.side = clean.shape[-1]
        a, b = spectrum(clean).flatten(), spectrum(other).flatten()
        values = torch.stack([a.abs().square(), b.abs().square(), (a.conj() * b).real], 1).double()
        sums = torch.zeros(_COUNT + 1, 3, dtype=torch.float64).index_add_(0, _bins(self.side), values)
        self.sums = torch.cat([torch.zeros(1, 3, dtype=torch.float64), sums[1:]]).cumsum(0)

    def ring(self, low: float, high: float) -> tuple[float, float] | None:
        """Gain and squared coherence between two frequencies in cycles per pixel; None without power there."""
        first, last = (round(_FINE * math.log2(0.5 / border)) for border in (high, low))
        clean, other, cross = (self.sums[min(last, _COUNT)] - self.sums[min(first, _COUNT)]).tolist()
        if clean <= 0:
            return None
        return cross / clean, max(cross, 0.0) ** 2 / max(clean * other, 1e-20)


def effective_size(clean: Tensor, degraded: Tensor) -> float:
    """The ground truth of the effective size, in pixels a side; both pictures [S, S], luma.

    A size n is resolved if, in the mean over four rings of its finest octave (n/4 to n/2 cycles a side), the gain is at
    least 0.7 (-3 dB; blur reduces it) and the squared coherence at least 0.5 (an SNR of 1; noise reduces it). The
    effective size is the largest n such that all smaller sizes are resolved, interpolated.
    """
    side, pair = clean.shape[-1], Comparison(clean, degraded)
    before, size = (6.0, 1.5), 6.0
    while True:
        size = min(size * 2**0.125, float(side))
        borders = [size / side / 4 * 2 ** (number / _RINGS) for number in range(_RINGS + 1)]
        rings = [ring for low, high in itertools.pairwise(borders) if (ring := pair.ring(low, high)) is not None]
        gain, coherence = (sum(values) / len(rings) for values in zip(*rings, strict=True))
        score = min(gain / _GAIN, coherence / _COHERENCE)
        if score < 1:
            share = (before[1] - 1) / max(before[1] - score, 1e-6)
            return before[0] * (size / before[0]) ** min(max(share, 0.0), 1.0)
        if size >= side:
            return float(side)
        before = (size, score)


def equivalent_blur(clean: Tensor, soft: Tensor) -> float:
    """Sigma of the Gaussian whose gains are closest to those between two pictures [S, S]; 0 if below 1/4."""
    side, pair = clean.shape[-1], Comparison(clean, soft)
    borders = [2 / side * 2 ** (number / 3) for number in range(40) if 2 / side * 2 ** (number / 3) <= 0.5]
    gains = [(low * 2 ** (1 / 6), ring[0]) for low in borders[:-1] if (ring := pair.ring(low, low * 2 ** (1 / 3)))]
    middles, measured = torch.tensor(gains).T
    sigmas = torch.logspace(math.log2(_FINEST), math.log2(_COARSEST), 97, base=2)
    gaussian = torch.exp(-2 * (math.pi * sigmas[:, None] * middles[None]).square())
    best = int((gaussian - measured.clamp(0, 1.2)).square().sum(1).argmin())
    return float(sigmas[best]) if best else 0.0


def noise_levels(error: Tensor) -> tuple[float, ...]:
    """Root mean square of an error [3, S, S] after halving it 0, 1, 2, ... times, in the window of the face."""
    found: list[float] = []
    for halved in range(HALVINGS + 1):
        side = error.shape[-1] >> halved
        if side < 8:
            found.append(found[-1] / 2)
            continue
        small = downsample(error, size=(side, side)) if halved else error
        weight = window(side)
        found.append(float(((small.square() * weight).sum() / weight.sum() / 3).sqrt()))
    return tuple(found)


@dataclass
class _Pipeline:
    """A picture between degradations; `soft`: the same without noise, clamping and rounding."""

    picture: Tensor
    soft: Tensor
    kinds: list[str] = field(default_factory=list)
    recipe: list[str] = field(default_factory=list)
    jpeg: int | None = None

    def linear(self, kind: str, note: str, change: Callable[[Tensor], Tensor]) -> None:
        self.picture, self.soft = change(self.picture).clamp(0, 1), change(self.soft)
        self.kinds.append(kind)
        self.recipe.append(note)
        self.jpeg = None


def _resized(x: Tensor, side: int, mode: str) -> Tensor:
    if side <= x.shape[-1]:
        return downsample(x, size=(side, side))
    if mode == "bicubic":
        return enlarge(x, (side, side))
    return F.interpolate(x[None], (side, side), mode=mode, align_corners=False)[0]


def _noise(path: _Pipeline, rng: random.Random, numbers: torch.Generator, grey: bool) -> None:
    std = rng.uniform(0, 0.1) if rng.random() < 0.5 else 10 ** rng.uniform(-2.5, -1)
    channels = 1 if grey or rng.random() < 0.4 else 3
    drawn = torch.randn(channels, *path.picture.shape[1:], generator=numbers)
    path.picture = (path.picture + std * drawn).clamp(0, 1)
    path.kinds.append("noise")
    path.recipe.append(f"noise {std:.3f} in {channels}")
    path.jpeg = None


def _round(path: _Pipeline, rng: random.Random, numbers: torch.Generator, side: int, grey: bool, chance: float) -> None:
    """One order of degradations, each with a probability."""
    if rng.random() < chance:
        sigma = 2 ** rng.uniform(-1, 2)
        blur = GaussianBlur(sigma)
        path.linear("blur", f"blur {sigma:.2f}", lambda x: blur.forward(x[None])[0])
    small = round(2 ** rng.uniform(4, 7)) if rng.random() < chance else side
    noise, first = rng.random() < chance, rng.random() < 0.5
    if small < side:
        path.linear("enlarged", f"down to {small}", lambda x: _resized(x, small, "bicubic"))
        if noise and first:
            _noise(path, rng, numbers, grey)
        mode = rng.choice(["bicubic", "bilinear"])
        path.linear("enlarged", f"up by {mode}", lambda x: _resized(x, side, mode))
    if noise and not (first and small < side):
        _noise(path, rng, numbers, grey)
    if rng.random() < chance:
        quality = rng.randint(20, 95)
        path.picture = JPEG(quality).apply(path.picture[None], numbers)[0]
        path.kinds.append("jpeg")
        path.recipe.append(f"jpeg {quality}")
        path.jpeg = quality


def _cut(side: int, rng: random.Random) -> tuple[Callable[[Tensor], Tensor], str]:
    """A random alignment, as of faces: a small rotation, at about the same resolution."""
    turn, share, out = math.radians(rng.uniform(-20, 20)), rng.uniform(0.85, 1), rng.uniform(0.93, 1.07)
    half = (
        share * (side / 2 - 5) / (math.cos(turn) + abs(math.sin(turn)))
    )  # inside the picture, with the support of the filters
    right = torch.tensor([math.cos(turn), math.sin(turn)], dtype=torch.float64) * half
    down = torch.stack([-right[1], right[0]])
    middle = torch.tensor([0.5, 0.5], dtype=torch.float64) * side
    quad = torch.stack([middle - right - down, middle - right + down, middle + right + down, middle + right - down])
    size = max(16, round(2 * half * out))
    return lambda x: crop_square(x, quad, size), f"turned {math.degrees(turn):.0f}, {size}"


def degrade(
    clean: Tensor,
    seed: int,
    *,
    sides: tuple[float, float] = (64, 512),
    chance: float = 0.5,
    warped: float = 0.3,
    light: Callable[[Tensor], Tensor] | None = None,
) -> Case:
    """A random case of a clean face.

    Args:
        clean: [3, H, H] in 0..1, sharp.
        seed: of all random choices.
        sides: smallest and largest size in pixels.
        chance: the probability of each degradation. warped: the probability of an alignment at the end.
        light: a change of the clean picture after it is resized.
    """
    rng, numbers = random.Random(seed), torch.Generator().manual_seed(seed)
    side = min(clean.shape[-1], round(2 ** rng.uniform(math.log2(sides[0]), math.log2(sides[1]))))
    grey = rng.random() < 0.3
    clean = _resized(clean, side, "bicubic")
    clean = light(clean) if light is not None else clean
    clean = Grey().forward(clean[None])[0].contiguous() if grey else clean
    path = _Pipeline(clean.clamp(0, 1), clean, ["grey"] if grey else [])
    orders = 0 if rng.random() < 0.1 else 2 if rng.random() < 0.15 else 1
    for _ in range(orders):
        _round(path, rng, numbers, side, grey, chance)
    if orders == 2:
        path.kinds.append("twice")
    if side >= 40 and rng.random() < warped:
        path.picture = (path.picture * 255).round() / 255  # the file of the photograph
        change, note = _cut(side, rng)
        path.linear("aligned", note, change)
        clean = change(clean)
    else:
        path.picture = (path.picture * 255).round() / 255
    return truth(path, clean, grey)


def truth(path: _Pipeline, clean: Tensor, grey: bool) -> Case:
    """The ground truth of a degraded picture."""
    luma, soft = luma_of(clean), luma_of(path.soft)
    kinds = tuple(dict.fromkeys(path.kinds)) or ("clean",)
    if kinds in (("grey",), ("aligned",), ("grey", "aligned")):
        kinds = ("clean", *kinds)
    return Case(
        path.picture,
        kinds,
        effective_size(luma, luma_of(path.picture)),
        equivalent_blur(luma, soft),
        noise_levels(path.picture - path.soft),
        path.jpeg,
        grey,
        path.recipe,
    )

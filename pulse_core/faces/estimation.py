"""How much a picture of a face really holds: effective pixels, blur, noise, JPEG and colours, told from it alone.

A face may be 80 pixels wide in its file and hold only 32 of signal. Small networks that have seen many spoiled faces
(`python -m bench.estimation --train`) tell it from the numbers of `features`. What they were taught as true is written
down in `bench/estimation/cases.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ..degradations import Chain, Degradation
from ..degradations.blur import GaussianBlur
from ..degradations.grey import Grey
from ..degradations.noise import Noise
from ..errors import ImageError
from ..pictures.images import check_colours
from .features import chroma, features, jpeg_blocks, luma_of

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "faces" / "estimation.safetensors"
SIZES = (16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 1024)
HALVINGS = 3  # noise is told at the picture's own pixels, and after so many halvings
# octaves of size, their spread; octaves of blur, their spread; noise at each halving; whether it is a picture
OUTPUTS = 4 + HALVINGS + 1 + 1
MIN_BLUR = 0.25  # sigma in pixels that the network counts octaves from
_LEAST_NOISE = 1 / 255  # deviation that is as good as none: a result is exact to a step of 8 bits
_NOISE = 0.01  # deviation from which on the network counts in logarithms
_MATTERS = 0.4  # sigma in pixels of the searched size that is more than the size itself explains
_GREY = 0.008  # root mean square of chroma, smoothed, below which there is none
_FITS = 0.45  # how well blocks must fit a table of quantisation
_SURE = 0.3  # the least confidence of a measurement that is gone by
_SMALLEST, _LARGEST = 16, 1024
_FLAT = 1.5 / 255  # deviation of a picture that shows nothing
_NO_BLUR = 0.35  # sigma in pixels that is told as none
_WITHIN = 0.45  # octaves: a step of SIZES, and the half of one that rounding takes


@dataclass(frozen=True)
class DegradationEstimate:
    """What an aligned face, or a plain picture of one, holds.

    size: effective pixels a side, one of SIZES: the largest at which the signal is above the noise and the blur.
    blur: sigma of the Gaussian nearest to all that softened it, in pixels of the picture; 0 is none.
    noise: standard deviation at the picture's own pixels, colours in 0..1: grain, and what JPEG's rounding changed.
    jpeg: quality in 1..100; None where no blocks are seen.
    is_grey: it has no colours; sepia is a colour.
    confidence: the probability, 0..1, that the size is right within one step of SIZES.
    side: pixels a side of the picture that was measured.
    noises: `noise`, and what is left of it after halving the picture once, twice, ...
    """

    size: int
    blur: float
    noise: float
    jpeg: int | None
    is_grey: bool
    confidence: float
    side: int
    noises: tuple[float, ...] = ()

    def noise_at(self, size: int) -> float:
        """The standard deviation of the noise that is left after antialiased bicubic downscaling to `size` pixels."""
        noises = self.noises or (self.noise,)
        halvings = max(0.0, math.log2(self.side / size))
        whole = min(int(halvings), len(noises) - 1)
        here = noises[whole]
        following = noises[whole + 1] if whole + 1 < len(noises) else here / 2  # far down it is as good as white
        return here * (following / here) ** (halvings - whole) if here else 0.0

    def blur_at(self, size: int) -> float:
        """Sigma in pixels of a picture of `size`; 0 where the size itself explains it."""
        sigma = self.blur * size / self.side
        return sigma if sigma > _MATTERS else 0.0

    def degradation(self, size: int) -> Degradation | None:
        """What a search at `size` pixels should look through, in the order in which it happened; None is nothing.

        The blur and the noise are those that are left after downscaling to that size.
        """
        parts: list[Degradation] = []
        if self.is_grey:
            parts.append(Grey())
        sigma, noise = self.blur_at(size), self.noise_at(size)
        if sigma:
            parts.append(GaussianBlur(min(sigma, 100.0)))
        if noise > _LEAST_NOISE:
            parts.append(Noise(min(noise, 1.0)))
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else Chain(parts)

    @property
    def is_sure(self) -> bool:
        """Whether it is confident enough to go by."""
        return self.confidence >= _SURE

    @property
    def metadata(self) -> dict[str, Any]:
        """For reports: all of it, and the line."""
        return {"summary": self.summary, **asdict(self)}

    @property
    def summary(self) -> str:
        """One line: "holds 32 of 80 pixels, blur 1.3 px, noise 0.02, grey"."""
        said = [f"holds {self.size} of {self.side} pixels"]
        if self.blur:
            said.append(f"blur {self.blur:.1f} px")
        if self.noise > 0.002:
            said.append(f"noise {self.noise:.2g}")
        if self.jpeg is not None:
            said.append(f"JPEG {self.jpeg}")
        if self.is_grey:
            said.append("grey")
        if self.confidence < 0.5:
            said.append("uncertain")
        return ", ".join(said)


@torch.no_grad()
def estimate_degradation(picture: Tensor) -> DegradationEstimate:
    """What a picture holds; of one that is not square, its middle.

    Args:
        picture: [3, H, W] in 0..1, at the file's own pixels, from 16 up: an aligned face at about the size that it
            has in its photograph, or a picture of a face that may have been enlarged earlier.

    Raises:
        ImageError: another shape, fewer than 16 pixels, NaN, or no colours.
    """
    square = _checked(picture)
    side, halvings = square.shape[-1], max(0, math.ceil(math.log2(square.shape[-1] / _LARGEST)))
    if halvings:  # nothing was learned of faces this large; so much can be said of a smaller version
        square = F.avg_pool2d(square, 2**halvings)
    luma, grey = luma_of(square), is_grey(square)
    if float(luma.std()) < _FLAT:
        noises = tuple(float(luma.std()) / 2**number for number in range(HALVINGS + 1))
        return DegradationEstimate(SIZES[0], 0.0, noises[0], None, grey, 0.0, side, noises)
    numbers = network(_weights(), features(square)[None]).mean(0)[0].tolist()
    octaves, spread, softened, picture_like = numbers[0], math.exp(numbers[1]), numbers[2], numbers[5 + HALVINGS]
    blur = MIN_BLUR * 2**softened
    noises = tuple(decode_noise(number, halved) for halved, number in enumerate(numbers[4 : 5 + HALVINGS]))
    noises = noises[:1] * halvings + noises
    fit, quality, _ = jpeg_blocks(luma)
    return DegradationEstimate(
        size=floor_size(square.shape[-1] * 2 ** min(octaves, 0.0), side),
        blur=round(blur * 2**halvings, 3) if blur > _NO_BLUR else 0.0,
        noise=noises[0],
        jpeg=quality if fit > _FITS else None,
        is_grey=grey,
        confidence=(1 - math.exp(-_WITHIN / spread)) / (1 + math.exp(-picture_like)),
        side=side,
        noises=noises,
    )


def decode_noise(number: float, halvings: int) -> float:
    """A standard deviation from what the network says of it: a logarithm, but for small ones, which matter little."""
    return min(max(_NOISE / 2**halvings * math.sinh(number), 0.0), 1.0)


def encode_noise(noise: float, halvings: int) -> float:
    """The inverse of `decode_noise`."""
    return math.asinh(noise * 2**halvings / _NOISE)


def floor_size(estimate: float, side: int) -> int:
    """The largest of SIZES, at most `side`, that is estimate where so many pixels are; a twentieth may be missing."""
    return max((size for size in SIZES if size <= min(1.05 * estimate, side)), default=SIZES[0])


def is_grey(picture: Tensor) -> bool:
    """Whether [3, H, W] has no colours but for noise: of the smoothed chroma next to nothing is left without it."""
    planes, cell = chroma(picture.float()), max(1, min(picture.shape[-2:]) // 8)
    smooth = F.avg_pool2d(planes, cell).square().mean()
    fine = (planes[:, :-1, :-1] - planes[:, 1:, :-1] - planes[:, :-1, 1:] + planes[:, 1:, 1:]) / 2
    noise = (fine.abs().flatten().median() / 0.6745).square() / cell**2  # the median of |x| is 0.6745 deviations
    return float(smooth - noise) < _GREY**2


def network(weights: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
    """[B, NUM_FEATURES] -> [N, B, OUTPUTS]: an ensemble of N MLPs with two hidden layers, to be averaged."""
    x = ((numbers - weights["mean"]) / weights["std"]).clamp(-5, 5).expand(len(weights["out.bias"]), -1, -1)
    for name in ("hidden0", "hidden1"):
        x = F.silu(torch.baddbmm(weights[f"{name}.bias"], x, weights[f"{name}.weight"]))
    return torch.baddbmm(weights["out.bias"], x, weights["out.weight"])


@lru_cache(maxsize=1)
def _weights() -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in load_file(WEIGHTS).items()}


def _checked(picture: Tensor) -> Tensor:
    """The middle square of a picture, [3, S, S] float32 on the CPU."""
    shape = list(picture.shape)
    if picture.ndim != 3 or shape[0] != 3 or min(shape[1:]) < _SMALLEST:
        raise ImageError(
            f"The picture to measure has the shape {shape}.",
            f"[3, H, W] (RGB), at least {_SMALLEST} pixels a side.",
            "give one picture of a face, at the pixels that it has in its file.",
        )
    check_colours(picture)
    side = min(shape[1:])
    top, left = (shape[1] - side) // 2, (shape[2] - side) // 2
    return picture[:, top : top + side, left : left + side].detach().float().cpu().clamp(0, 1)

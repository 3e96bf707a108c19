"""How much a picture of a face really holds: effective pixels, blur, noise, JPEG and colours, told from it alone.

A face may be 80 pixels wide in its file and hold only 32 of signal. A small network that has seen many spoiled faces
(`python -m bench.measuring --train`) tells it from the numbers of `features`. What it was taught as true is written
down in `bench/measuring/cases.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ..degradations import Chain, Degradation
from ..degradations.blur import GaussianBlur
from ..degradations.grey import Grey
from ..degradations.noise import Noise
from ..errors import ImageError
from ..images import check_colours
from .features import chroma, features, jpeg_blocks, luma_of

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "faces" / "measuring.safetensors"
SIZES = (16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 1024)
HALVINGS = 3  # noise is told at the picture's own pixels, and after so many halvings
OUTPUTS = 3 + 2 + HALVINGS + 1  # octaves of size, how sure, blur; how sure of blur; noise at each halving; is a picture
LEAST_BLUR, LEAST_NOISE = 0.25, 0.0005  # sigma in pixels, deviation in 0..1: as good as none
_MATTERS = 0.4  # sigma in pixels of the searched size that is more than the size itself explains
_GREY = 0.008  # root mean square of chroma, smoothed, below which there is none
_FITS = 0.45  # how well blocks must fit a table of quantisation
_SMALLEST, _LARGEST = 16, 2048
_STEP = 0.5 * math.log2(4 / 3)  # half a step of SIZES, in octaves


@dataclass(frozen=True)
class Held:
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
        if noise > LEAST_NOISE:
            parts.append(Noise(min(noise, 1.0)))
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else Chain(parts)

    @property
    def told(self) -> str:
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
def measure(picture: Tensor) -> Held:
    """What a picture holds; of one that is not square, its middle.

    Args:
        picture: [3, H, W] in 0..1, at the file's own pixels, from 16 up: an aligned face at about the size that it
            has in its photograph, or a picture of a face that may have been enlarged earlier.

    Raises:
        ImageError: another shape, fewer than 16 pixels, NaN, or no colours.
    """
    square = _checked(picture)
    side = square.shape[-1]
    halved = max(0, math.ceil(math.log2(side / _LARGEST)))
    if halved:  # nothing is known of faces this large; so much can be said of their half
        square = F.avg_pool2d(square, 2**halved)
    numbers = network(_weights(), features(square)[None])[0].tolist()
    luma = luma_of(square)
    fit, quality, _ = jpeg_blocks(luma)
    grey = is_grey(square)
    octaves, spread, blur = numbers[0], math.exp(numbers[1]), LEAST_BLUR * 2 ** max(numbers[2], 0.0)
    size = size_of(square.shape[-1] * 2 ** min(octaves, 0.0), side)
    noises = tuple(min(max(10**number, 0.0), 1.0) for number in numbers[4 : 5 + HALVINGS])
    flat = float(luma.std()) < 1.5 / 255
    sure = 0.0 if flat else 1 / (1 + math.exp(-numbers[5 + HALVINGS]))
    scale = 2**halved
    return Held(
        size=SIZES[0] if flat else size,
        blur=0.0 if flat or blur < 0.35 else round(blur * scale, 3),
        noise=noises[0],
        jpeg=quality if fit > _FITS and not flat else None,
        is_grey=grey,
        confidence=sure * math.erf(2.5 * _STEP / spread / math.sqrt(2)),
        side=side,
        noises=noises,
    )


def size_of(held: float, side: int) -> int:
    """The largest of SIZES, at most `side`, that is held where so many pixels are; a twentieth may be missing."""
    return max((size for size in SIZES if size <= min(1.05 * held, side)), default=SIZES[0])


def is_grey(picture: Tensor) -> bool:
    """Whether [3, H, W] has no colours but for noise: the chroma of its smoothed version is next to nothing."""
    smooth = F.avg_pool2d(chroma(picture.float()), max(1, min(picture.shape[-2:]) // 16))
    return float(smooth.square().mean().sqrt()) < _GREY


def network(weights: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
    """[B, COUNT] -> [B, OUTPUTS]: two hidden layers; see OUTPUTS."""
    x = ((numbers - weights["mean"]) / weights["std"]).clamp(-5, 5)
    for name in ("hidden0", "hidden1"):
        x = F.silu(F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"]))
    return F.linear(x, weights["out.weight"], weights["out.bias"])


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

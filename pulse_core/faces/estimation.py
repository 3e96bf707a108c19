"""Blind estimation of a face's degradation: effective size, blur, noise, JPEG quality and greyness.

A face may be 80 pixels wide in its file and have only 32 pixels of signal. An ensemble of small MLPs on the statistics
of `features`, trained on degraded faces (`python -m bench.estimation --train`), estimates this. The ground truth is
defined in `bench/estimation/cases.py`.
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

from ..defaults import own_defaults
from ..degradations import Chain, Degradation
from ..degradations.blur import GaussianBlur
from ..degradations.grey import Grey
from ..degradations.noise import Noise
from ..errors import ImageError
from ..pictures.arrays import ArrayLike, as_tensor
from ..pictures.images import check_colours
from .features import chroma, features, jpeg_blocks, luma_of

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "faces" / "estimation.safetensors"
SIZES = (16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 1024)
HALVINGS = 3  # noise is estimated at the picture's size and after each of this many halvings
# log2 of size and its log spread; log2 of blur and its log spread; noise at each halving; logit of a usable picture
OUTPUTS = 4 + HALVINGS + 1 + 1
MIN_BLUR = 0.25  # sigma in pixels at which log2 of blur is 0
_MIN_NOISE = 1 / 255  # standard deviation below which noise is ignored: one 8-bit step
_NOISE_SCALE = 0.01  # standard deviation above which the network's output is logarithmic
_MIN_TARGET_BLUR = 0.4  # sigma in pixels of the target; less is due to its size alone
_GREY = 0.008  # RMS of smoothed chroma below which a picture is grey
_JPEG_FIT = 0.45  # minimum fit of the blocks to a quantisation table
_MIN_CONFIDENCE = 0.3  # of an estimate that is used
_SMALLEST, _LARGEST = 16, 1024
_CONSTANT = 1.5 / 255  # standard deviation of a constant picture
_NO_BLUR = 0.35  # sigma in pixels that is reported as 0
_TOLERANCE = 0.45  # in log2: one step of SIZES, plus half a step for rounding


@dataclass(frozen=True)
class DegradationEstimate:
    """The estimated degradation of an aligned face or a picture of one.

    size: effective size, one of SIZES: the largest at which there is signal above noise and blur.
    blur: sigma of the Gaussian nearest to the total blur, in pixels of the picture; 0: none.
    noise: standard deviation at the picture's size, colours in 0..1: grain and JPEG quantisation.
    jpeg: quality in 1..100; None if no blocks are found.
    is_grey: no colours; sepia counts as colour.
    confidence: the probability, 0..1, that the size is right within one step of SIZES.
    side: pixels a side of the picture that was analysed.
    noises: `noise`, and the noise after halving the picture once, twice, ...
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
        """Standard deviation of the noise after antialiased bicubic downscaling to `size` pixels."""
        noises = self.noises or (self.noise,)
        halvings = max(0.0, math.log2(self.side / size))
        whole = min(int(halvings), len(noises) - 1)
        here = noises[whole]
        following = (
            noises[whole + 1] if whole + 1 < len(noises) else here / 2
        )  # after the last halving it is nearly white
        return here * (following / here) ** (halvings - whole) if here else 0.0

    def blur_at(self, size: int) -> float:
        """Sigma in pixels of a target of `size`; 0 if it is due to the size alone."""
        sigma = self.blur * size / self.side
        return sigma if sigma > _MIN_TARGET_BLUR else 0.0

    def degradation(self, size: int) -> Degradation | None:
        """The degradation of a target of `size` pixels, in the order in which it happened; None: none.

        Blur and noise are those that remain after downscaling to that size.
        """
        parts: list[Degradation] = []
        if self.is_grey:
            parts.append(Grey())
        sigma, noise = self.blur_at(size), self.noise_at(size)
        if sigma:
            parts.append(GaussianBlur(min(sigma, 100.0)))
        if noise > _MIN_NOISE:
            parts.append(Noise(min(noise, 1.0)))
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else Chain(parts)

    @property
    def is_sure(self) -> bool:
        """Whether it is confident enough to be used."""
        return self.confidence >= _MIN_CONFIDENCE

    @property
    def metadata(self) -> dict[str, Any]:
        """For reports: all fields and the summary."""
        return {"summary": self.summary, **asdict(self)}

    @property
    def summary(self) -> str:
        """One line: "holds 32 of 80 pixels, blur 1.3 px, noise 0.02, grey"."""
        parts = [f"holds {self.size} of {self.side} pixels"]
        if self.blur:
            parts.append(f"blur {self.blur:.1f} px")
        if self.noise > 0.002:
            parts.append(f"noise {self.noise:.2g}")
        if self.jpeg is not None:
            parts.append(f"JPEG {self.jpeg}")
        if self.is_grey:
            parts.append("grey")
        if self.confidence < 0.5:
            parts.append("uncertain")
        return ", ".join(parts)


@own_defaults
@torch.no_grad()
def estimate_degradation(picture: ArrayLike) -> DegradationEstimate:
    """Estimates the degradation of a picture; of its central square, if it is not square.

    Args:
        picture: [3, H, W] in 0..1, at least 16 pixels a side, not resampled: an aligned face at about its size in the
            photograph, or a picture of a face, possibly enlarged earlier. Also a PIL image or a numpy array [H, W, 3].

    Raises:
        ImageError: another shape, fewer than 16 pixels, or values that are not colours.
    """
    square = _checked(as_tensor(picture))
    side, halvings = square.shape[-1], max(0, math.ceil(math.log2(square.shape[-1] / _LARGEST)))
    if halvings:  # the networks were trained on smaller faces
        square = F.avg_pool2d(square, 2**halvings)
    luma, grey = luma_of(square), is_grey(square)
    if float(luma.std()) < _CONSTANT:
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
        jpeg=quality if fit > _JPEG_FIT else None,
        is_grey=grey,
        confidence=(1 - math.exp(-_TOLERANCE / spread)) / (1 + math.exp(-picture_like)),
        side=side,
        noises=noises,
    )


def decode_noise(number: float, halvings: int) -> float:
    """Standard deviation from the network's output: exponential, but linear for small values, which matter little."""
    return min(max(_NOISE_SCALE / 2**halvings * math.sinh(number), 0.0), 1.0)


def encode_noise(noise: float, halvings: int) -> float:
    """The inverse of `decode_noise`."""
    return math.asinh(noise * 2**halvings / _NOISE_SCALE)


def floor_size(estimate: float, side: int) -> int:
    """The largest of SIZES up to `side` and 1.05 times the estimate."""
    return max((size for size in SIZES if size <= min(1.05 * estimate, side)), default=SIZES[0])


def is_grey(picture: Tensor) -> bool:
    """Whether [3, H, W] has no colours: the power of the smoothed chroma is that of its noise."""
    planes, cell = chroma(picture.float()), max(1, min(picture.shape[-2:]) // 8)
    smooth = F.avg_pool2d(planes, cell).square().mean()
    fine = (planes[:, :-1, :-1] - planes[:, 1:, :-1] - planes[:, :-1, 1:] + planes[:, 1:, 1:]) / 2
    noise = (fine.abs().flatten().median() / 0.6745).square() / cell**2  # the median of |x| is 0.6745 std
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
    """The central square of a picture, [3, S, S] float32 on the CPU."""
    shape = list(picture.shape)
    if picture.ndim != 3 or shape[0] != 3 or min(shape[1:]) < _SMALLEST:
        raise ImageError(
            f"The picture to estimate has the shape {shape}.",
            f"[3, H, W] (RGB), at least {_SMALLEST} pixels a side.",
            "give one picture of a face, at its size in the file.",
        )
    check_colours(picture)
    side = min(shape[1:])
    top, left = (shape[1] - side) // 2, (shape[2] - side) // 2
    return picture[:, top : top + side, left : left + side].detach().float().cpu().clamp(0, 1)

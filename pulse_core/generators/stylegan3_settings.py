"""Settings of a StyleGAN3 that are not in a bare state dict, deduced from its filters and frequencies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from .tensors import TensorBag

T = TypeVar("T")

LAYER = re.compile(r"synthesis\.L(\d{1,3})_(\d{1,5})_(\d{1,5})\.weight")
UNPADDED_LAYERS = 2  # layers at the end, the image included, that have no margin
MARGIN, MAX_MARGIN = 10, 64  # pixels around the image in all layers but the last two
LRELU_UPSAMPLING, MAX_UPSAMPLING = 2, 16
BANDWIDTH, MAX_BANDWIDTH = 2.0, 1e4  # cycles per image of the Fourier features: the first cutoff
_DESIGNED = 1e-5  # sum of squares between two filters of sum 1
_MANY = 64  # frequencies, of which the largest is near to the bandwidth


def find_margin(bag: TensorBag, widths: Sequence[int], first: str) -> tuple[int, bool] | None:
    """The margin in pixels, and whether this is a portrait; None if no margin makes the rates powers of two.

    A portrait twice as high as wide is named by its width (StyleGAN-Human), where its margins are halved. So a square
    of margin m has the names of a portrait of margin 2 m at twice the sampling rate. The first layer's filter tells
    them apart: it was designed for the bandwidth of the Fourier features at that rate.

    Args:
        widths: of the layers, as they are named. first: the name of the first.

    Setting: margin. Where neither it nor the filter says, it is assumed.
    """
    said = [int(bag.number("margin", MARGIN, 0, MAX_MARGIN))] if bag.says("margin") else range(MAX_MARGIN + 1)
    shapes = [(margin, is_tall) for is_tall in (False, True) for margin in said]
    fitting = [each for each in shapes if all(map(_is_power_of_2, sampling_rates(widths, *each)))]
    cutoff = find_bandwidth(bag) / (find_upsampling(bag) or LRELU_UPSAMPLING)
    cutoffs = {each: cutoff / sampling_rates(widths, *each)[0] for each in fitting}
    designed = _designed_for(bag.peek(f"{first}.up_filter"), cutoffs) if len(fitting) > 1 else None
    if len(fitting) > 1 and designed is None:
        fitting = [each for each in ((MARGIN, False), (MARGIN, True)) if each in fitting]
        bag.assumed["margin"] = MARGIN
    return designed or (fitting[0] if fitting else None)


def sampling_rates(widths: Sequence[int], margin: int, is_tall: bool) -> list[int]:
    """Samples per image side of each layer; the last layers have no margin."""
    heights = [2 * width for width in widths] if is_tall else widths
    inside = len(widths) - UNPADDED_LAYERS
    return [height - 2 * margin if index < inside else height for index, height in enumerate(heights)]


def find_bandwidth(bag: TensorBag) -> float:
    """The bandwidth of the Fourier features, whose frequencies are drawn evenly from a disc of that radius.

    It is used for transforms that zoom out, and must not be less than any frequency.
    """
    freqs = bag.peek("synthesis.input.freqs")
    if freqs is None or freqs.ndim != 2 or not bool(freqs.isfinite().all()):
        return BANDWIDTH
    largest = float(freqs.norm(dim=1).max())
    is_usual = largest <= BANDWIDTH and (len(freqs) < _MANY or largest > 0.9 * BANDWIDTH)
    return BANDWIDTH if is_usual else min(largest * (1 + 1 / len(freqs)) ** 0.5, MAX_BANDWIDTH)


def find_upsampling(bag: TensorBag) -> int | None:
    """lrelu_upsampling: the last filter lets pass all that its layer's input can hold. None if it is no such filter."""
    layers = sorted((int(m[1]), m[0].removesuffix(".weight")) for n in bag.names() if (m := LAYER.fullmatch(n)))
    taps = bag.peek(f"{layers[-2][1]}.up_filter") if len(layers) > 1 else None
    return _designed_for(taps, {factor: 0.5 / factor for factor in (2, 4, 8, MAX_UPSAMPLING)})


def _designed_for(taps: Tensor | None, cutoffs: dict[T, float]) -> T | None:
    """Which of these cutoffs, in cycles per sample, a low-pass filter [taps] was designed for; None if for none."""
    if taps is None or taps.ndim != 1 or len(taps) < 2 or not bool(taps.isfinite().all()) or not cutoffs:
        return None
    misfits = {name: _misfit(taps, cutoff) for name, cutoff in cutoffs.items()}
    best = min(misfits, key=lambda name: misfits[name])
    return best if misfits[best] < _DESIGNED else None


def _misfit(taps: Tensor, cutoff: float) -> float:
    """How far a filter [taps] is from a low-pass filter of a cutoff in cycles per sample, under any Kaiser window."""
    places = torch.arange(len(taps), dtype=torch.float64) - (len(taps) - 1) / 2
    ideal = torch.sinc(2 * cutoff * places)

    def best(betas: Tensor) -> tuple[float, float]:
        edge = (1 - (places / places.abs().max().clamp(min=1)).square()).clamp(min=0).sqrt()
        designs = torch.special.i0(betas[:, None] * edge) * ideal
        errors = (designs / designs.sum(1, keepdim=True) - taps / taps.sum()).square().sum(1)
        return float(betas[errors.argmin()]), float(errors.min())

    coarse, _ = best(torch.linspace(0, 15, 151, dtype=torch.float64))
    return best(torch.linspace(max(coarse - 0.1, 0), coarse + 0.1, 2001, dtype=torch.float64))[1]


def _is_power_of_2(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0

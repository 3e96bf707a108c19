"""Random weights in the shapes of published generators: the cost of a step does not depend on their values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pulse_core.generators import Generator, build_generator
from pulse_core.loading import catalogue
from pulse_core.loading.load import load_generator, read_generator

SIZE, W_DIM = 1024, 512
_BLUR = torch.tensor([1.0, 2.0, 1.0])
_FILTER = torch.tensor([1.0, 3.0, 3.0, 1.0])


class _Draw:
    """Standard normal tensors, always the same."""

    def __init__(self) -> None:
        self._random = torch.Generator().manual_seed(0)

    def __call__(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self._random) * scale


def _channels(side: int, base: int) -> int:
    return min(512, base // side)


def _mapping(draw: _Draw, layer: str, layers: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for number in range(layers):
        tensors[f"mapping.{layer}{number}.weight"] = draw(W_DIM, W_DIM, scale=100)
        tensors[f"mapping.{layer}{number}.bias"] = draw(W_DIM)
    return tensors


def stylegan1_tensors(size: int = SIZE) -> dict[str, Tensor]:
    """PULSE's synthesis.pt and mapping.pt: 16,384 / side channels, at most 512, and eight mapping layers."""
    draw = _Draw()
    tensors = _mapping(draw, "dense", 8)
    width = _channels(4, 16384)
    for power in range(2, int(math.log2(size)) + 1):
        side = 2**power
        block, before, width = f"synthesis.blocks.{side}x{side}", width, _channels(side, 16384)
        if side == 4:
            tensors |= {f"{block}.const": draw(1, width, 4, 4), f"{block}.bias": draw(width, scale=0.1)}
            layers = {"conv": width}
        else:
            tensors[f"{block}.conv0_up.intermediate.kernel"] = (_BLUR[:, None] * _BLUR / 16)[None, None]
            layers = {"conv0_up": before, "conv1": width}
        for layer, source in layers.items():
            tensors |= {f"{block}.{layer}.weight": draw(width, source, 3, 3), f"{block}.{layer}.bias": draw(width)}
        for epilogue in ("epi1", "epi2"):
            prefix = f"{block}.{epilogue}"
            tensors[f"{prefix}.noise.weight"] = draw(width, scale=0.1)
            tensors[f"{prefix}.style_mod.lin.weight"] = draw(2 * width, W_DIM)
            tensors[f"{prefix}.style_mod.lin.bias"] = draw(2 * width, scale=0.1)
    return tensors | {"synthesis.torgb.weight": draw(3, width, 1, 1), "synthesis.torgb.bias": draw(3)}


def stylegan2_tensors(size: int = SIZE) -> dict[str, Tensor]:
    """Config-f of StyleGAN2-ADA, skip: 32,768 / side channels, at most 512, and eight mapping layers."""
    draw = _Draw()
    tensors = _mapping(draw, "fc", 8)
    tensors["mapping.w_avg"] = torch.zeros(W_DIM)
    tensors["synthesis.resample_filter"] = _FILTER[:, None] * _FILTER / 64
    width = _channels(4, 32768)
    for power in range(2, int(math.log2(size)) + 1):
        side = 2**power
        block, before, width = f"synthesis.b{side}", width, _channels(side, 32768)
        layers = {"conv1": width} if side == 4 else {"conv0": before, "conv1": width}
        if side == 4:
            tensors[f"{block}.const"] = draw(width, 4, 4)
        for layer, source in layers.items():
            prefix = f"{block}.{layer}"
            tensors |= {f"{prefix}.weight": draw(width, source, 3, 3), f"{prefix}.bias": draw(width, scale=0.1)}
            tensors |= {f"{prefix}.affine.weight": draw(source, W_DIM), f"{prefix}.affine.bias": torch.ones(source)}
            tensors |= {f"{prefix}.noise_const": draw(side, side), f"{prefix}.noise_strength": torch.tensor(0.1)}
        prefix = f"{block}.torgb"
        tensors |= {f"{prefix}.weight": draw(3, width, 1, 1), f"{prefix}.bias": draw(3, scale=0.1)}
        tensors |= {f"{prefix}.affine.weight": draw(width, W_DIM), f"{prefix}.affine.bias": torch.ones(width)}
    return tensors


# (width of the features with margins, channels) of StyleGAN3-T at 1024, as its layers are named
_T1024 = (
    *((36, 512), (36, 512), (52, 512), (52, 512), (84, 512), (148, 512), (148, 512), (276, 323), (276, 203)),
    *((532, 128), (1044, 81), (1044, 51), (1044, 32), (1024, 32), (1024, 3)),
)


def stylegan3_tensors() -> dict[str, Tensor]:
    """StyleGAN3-T at 1024; with averaging filters of six taps per factor."""
    draw = _Draw()
    tensors = _mapping(draw, "fc", 2)
    tensors["mapping.w_avg"] = torch.zeros(W_DIM)
    tensors |= {"synthesis.input.weight": draw(512, 512), "synthesis.input.transform": torch.eye(3)}
    tensors |= {"synthesis.input.freqs": draw(512, 2), "synthesis.input.phases": draw(512)}
    tensors |= {"synthesis.input.affine.weight": draw(4, W_DIM), "synthesis.input.affine.bias": torch.eye(4)[0]}
    before, source = 16, 512
    for index, (width, channels) in enumerate(_T1024):
        rate = width if width == SIZE else width - 20
        last, prefix = channels == 3, f"synthesis.L{index}_{width}_{channels}"
        side = 1 if last else 3
        tensors |= {f"{prefix}.weight": draw(channels, source, side, side), f"{prefix}.bias": draw(channels, scale=0.1)}
        tensors |= {f"{prefix}.affine.weight": draw(source, W_DIM), f"{prefix}.affine.bias": torch.ones(source)}
        tensors[f"{prefix}.magnitude_ema"] = torch.tensor(1.0)
        if not last:
            inner = 2 * max(before, rate)
            for name, taps in (("up", 6 * inner // before), ("down", 6 * inner // rate)):
                tensors[f"{prefix}.{name}_filter"] = torch.full((taps,), 1 / taps)
        before, source = rate, channels
    return tensors


CASES = ("stylegan1-1024", "stylegan2-1024", catalogue.DEFAULT_GENERATOR)
LARGEST = "stylegan3-1024"  # needs the most memory; a step takes a minute


def tensors_of(case: str) -> dict[str, Tensor]:
    """The tensors of one of CASES, by this pack's names."""
    if case == catalogue.DEFAULT_GENERATOR:
        loaded = read_generator([catalogue.locate(case)]).tensors
        return {name: each.read() for name, each in loaded.items()}
    family, size = case.split("-")
    if family == "stylegan3":
        return stylegan3_tensors()
    return {"stylegan1": stylegan1_tensors, "stylegan2": stylegan2_tensors}[family](int(size))


def build(case: str, device: torch.device | str = "cpu") -> Generator:
    """Builds one of CASES on a device."""
    if case == catalogue.DEFAULT_GENERATOR:
        return load_generator(case, device=device)
    return build_generator(tensors_of(case), name=case).to(device)

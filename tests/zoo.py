"""Small generators of every family and variant, as tensors under the names of the program that writes them.

StyleGAN2 and 3 are from the golden files; the others are random.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tiny import tiny_mobile_tensors
from torch import Tensor

GOLDEN = Path(__file__).resolve().parent / "golden"


@dataclass(frozen=True)
class Example:
    """Tensors by name, and the family and (height, width) of their generator. metadata: attributes of the network."""

    tensors: dict[str, Tensor]
    family: str
    size: tuple[int, int]
    metadata: dict[str, Any] = field(default_factory=dict)


def part(file: str, prefix: str) -> dict[str, Tensor]:
    """The tensors of a golden file under a prefix, without it."""
    tensors = load_file(GOLDEN / f"{file}.safetensors")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def pale_mobile_tensors() -> dict[str, Tensor]:
    """The tiny generator with its colours in range: what is clamped could not be searched for."""
    tensors = tiny_mobile_tensors()
    return tensors | {
        name: tensor * 0.1 for name, tensor in tensors.items() if ".to_image." in name and "affine" not in name
    }


def tiny_stylegan1_tensors(seed: int = 0, w_dim: int = 16, labels: int = 0) -> dict[str, Tensor]:
    """PULSE's two files in one: z and w of 16, 32x32 RGB, 8 channels."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=random) * scale

    tensors = {}
    for i in range(2):
        width = w_dim + (w_dim if labels and i == 0 else 0)
        tensors |= {f"mapping.dense{i}.weight": draw(w_dim, width, scale=100), f"mapping.dense{i}.bias": draw(w_dim)}
    if labels:
        tensors["mapping.label_concat.weight"] = draw(labels, w_dim)
    blur = torch.tensor([1.0, 2.0, 1.0])
    for side in (4, 8, 16, 32):
        block = f"synthesis.blocks.{side}x{side}"
        if side == 4:
            tensors |= {f"{block}.const": draw(1, 8, 4, 4), f"{block}.bias": draw(8, scale=0.1)}
            layers = ["conv"]
        else:
            tensors[f"{block}.conv0_up.intermediate.kernel"] = (blur[:, None] * blur / 16)[None, None]
            layers = ["conv0_up", "conv1"]
        for layer in layers:
            tensors |= {f"{block}.{layer}.weight": draw(8, 8, 3, 3), f"{block}.{layer}.bias": draw(8, scale=0.1)}
        for epilogue in ("epi1", "epi2"):
            prefix = f"{block}.{epilogue}"
            tensors[f"{prefix}.noise.weight"] = draw(8, scale=0.1)
            tensors[f"{prefix}.style_mod.lin.weight"] = draw(16, w_dim)
            tensors[f"{prefix}.style_mod.lin.bias"] = draw(16, scale=0.1)
    return tensors | {"synthesis.torgb.weight": draw(3, 8, 1, 1, scale=0.3), "synthesis.torgb.bias": draw(3, scale=0.1)}


def tall_stylegan2_tensors() -> dict[str, Tensor]:
    """A portrait twice as high as wide: another constant and other noise maps."""
    tensors = part("stylegan2_ada", "skip.G.")
    tensors["synthesis.b4.const"] = tensors["synthesis.b4.const"][:, :, :2].contiguous()
    for name in [name for name in tensors if name.endswith("noise_const")]:
        tensors[name] = tensors[name][:, : tensors[name].shape[1] // 2].contiguous()
    return tensors


def tall_stylegan3_tensors() -> dict[str, Tensor]:
    """Its layers are named by their widths, which are half their heights."""

    def narrow(match: re.Match[str]) -> str:
        return f"{match[1]}{int(match[2]) // 2}_"

    return {
        re.sub(r"^(synthesis\.L\d+_)(\d+)_", narrow, name): tensor for name, tensor in part("stylegan3_t", "G.").items()
    }


ZOO: dict[str, Callable[[], Example]] = {
    "mobilestylegan": lambda: Example(pale_mobile_tensors(), "mobilestylegan", (32, 32)),
    "stylegan1": lambda: Example(tiny_stylegan1_tensors(), "stylegan1", (32, 32)),
    "stylegan1 conditional": lambda: Example(tiny_stylegan1_tensors(labels=3), "stylegan1", (32, 32)),
    "stylegan2 skip": lambda: Example(part("stylegan2_ada", "skip.G."), "stylegan2", (64, 64)),
    "stylegan2 conditional": lambda: Example(part("stylegan2_ada", "cond.G."), "stylegan2", (32, 32)),
    "stylegan2 resnet": lambda: Example(part("stylegan2_ada", "resnet.G."), "stylegan2", (32, 32)),
    "stylegan2 orig, grey": lambda: Example(part("stylegan2_ada", "orig.G."), "stylegan2", (32, 32)),
    "stylegan2 tall": lambda: Example(tall_stylegan2_tensors(), "stylegan2", (64, 32)),
    "stylegan2 rosinality": lambda: Example(part("stylegan2_rosinality", "G."), "stylegan2", (64, 64)),
    "stylegan3 t": lambda: Example(part("stylegan3_t", "G."), "stylegan3", (64, 64)),
    "stylegan3 r": lambda: Example(part("stylegan3_r", "G."), "stylegan3", (64, 64)),
    "stylegan3 tall": lambda: Example(tall_stylegan3_tensors(), "stylegan3", (64, 32)),
}

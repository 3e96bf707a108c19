"""A tiny MobileStyleGAN with random weights: 32x32 images in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

DIM, CHANNELS, BLOCKS = 16, 8, 2


def tiny_mobile_tensors(seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a generator with z_dim = w_dim = 16, 6 styles, 5 noise maps, and 32x32 RGB images."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=random) * scale

    def affine(prefix: str, channels: int) -> dict[str, Tensor]:
        return {
            f"{prefix}.affine.weight": draw(channels, DIM, scale=DIM**-0.5 / 3),
            f"{prefix}.affine.bias": 1 + draw(channels, scale=0.1),
        }

    def conv(prefix: str, source: int, side: int, *, separable: bool) -> dict[str, Tensor]:
        kernel = 1 if separable else 3
        tensors = {
            f"{prefix}.weight": draw(CHANNELS, source, kernel, kernel, scale=(source * kernel**2) ** -0.5),
            f"{prefix}.bias": draw(CHANNELS, scale=0.1),
            f"{prefix}.noise_strength": draw(scale=0.1),
            f"{prefix}.noise_const": draw(side, side),
            **affine(prefix, source),
        }
        if separable:
            tensors[f"{prefix}.depthwise"] = draw(source, 1, 3, 3, scale=1 / 2)
        return tensors

    tensors = {"synthesis.const": draw(CHANNELS, 4, 4), **conv("synthesis.conv", CHANNELS, 4, separable=False)}
    for index in range(2):
        tensors[f"mapping.fc{index}.weight"] = draw(DIM, DIM, scale=DIM**-0.5)
        tensors[f"mapping.fc{index}.bias"] = draw(DIM, scale=0.1)
    for block in range(BLOCKS):
        prefix, side = f"synthesis.block{block}", 8 * 2**block
        tensors |= affine(f"{prefix}.up", CHANNELS)
        tensors |= conv(f"{prefix}.conv0", CHANNELS // 4, side, separable=True)
        tensors |= conv(f"{prefix}.conv1", CHANNELS, side, separable=True)
    tensors |= affine("synthesis.to_image", CHANNELS)
    tensors["synthesis.to_image.weight"] = draw(12, CHANNELS, 1, 1, scale=CHANNELS**-0.5)
    tensors["synthesis.to_image.bias"] = draw(12, scale=0.1)
    return tensors


def save_tiny(path: Path, seed: int = 0) -> Path:
    """Writes the tiny generator as a .safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tiny_mobile_tensors(seed), path)
    return path

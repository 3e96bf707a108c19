"""StyleGAN2 as rosinality's stylegan2-pytorch names it.

A layer's tensors are spread over conv, noise and activate; the blocks above 4x4 are numbered through.
`latent_avg` stands beside the state dict, and only in converted files.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from ..stored import Stored
from .renaming import Change, rename

_KERNELS = ("blur.kernel", "upsample.kernel")
_PARTS: dict[str, tuple[str, Change]] = {
    "conv.weight": ("weight", lambda t: t.squeeze(0)),
    "conv.modulation.weight": ("affine.weight", None),
    "conv.modulation.bias": ("affine.bias", None),
    "noise.weight": ("noise_strength", lambda t: t.reshape(())),
    "activate.bias": ("bias", None),
    "bias": ("bias", lambda t: t.reshape(-1)),
}


def recognises(names: Collection[str], metadata: dict[str, Any]) -> bool:
    """By the constant and the first layer."""
    return "input.input" in names and "conv1.conv.weight" in names


def translate(tensors: Stored, metadata: dict[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """The names of NVlabs' StyleGAN2. The blur kernels, all alike, become one filter that sums to 1."""
    renamed = rename(tensors, _rule)
    kernel = next((tensor for name, tensor in tensors.items() if name.endswith(_KERNELS)), None)
    if kernel is not None:
        renamed["synthesis.resample_filter"] = kernel.then(lambda t: t / 4)
    return renamed, {}


def _rule(name: str) -> tuple[str, Change] | None:
    """Unknown names stay, to be refused by the family."""
    if name.endswith(_KERNELS):
        return None
    if name == "latent_avg":
        return "mapping.w_avg", lambda t: t.reshape(-1)
    if name == "input.input":
        return "synthesis.b4.const", lambda t: t.squeeze(0)
    if match := re.fullmatch(r"style\.(\d{1,3})\.(weight|bias)", name):
        return f"mapping.fc{int(match[1]) - 1}.{match[2]}", None
    if match := re.fullmatch(r"noises\.noise_(\d{1,3})", name):
        return f"synthesis.{_layer(int(match[1]) - 1)}.noise_const", lambda t: t.squeeze(0).squeeze(0)
    if match := re.fullmatch(r"(conv1|to_rgb1|convs\.\d{1,3}|to_rgbs\.\d{1,3})\.(.+)", name):
        module, number = match[1].partition(".")[::2]
        block = {"conv1": "b4.conv1", "to_rgb1": "b4.torgb"}.get(module)
        if block is None:
            block = f"b{8 << int(number)}.torgb" if module == "to_rgbs" else _layer(int(number))
        part, change = _PARTS.get(match[2], (match[2], None))
        return f"synthesis.{block}.{part}", change
    return name, None


def _layer(index: int) -> str:
    """convs are numbered two a resolution from 8x8 on; -1 is conv1."""
    if index < 0:
        return "b4.conv1"
    return f"b{8 << (index // 2)}.conv{index % 2}"

"""StyleGAN2 as rosinality's stylegan2-pytorch names it.

A layer's tensors are spread over conv, noise and activate; the blocks above 4x4 are numbered through.
`latent_avg` stands beside the state dict, and only in converted files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch

from ...checkpoints.stored import Stored, StoredTensor, in_memory
from .places import marked
from .renaming import Change, one_filter, rename

BESIDE = ("latent_avg",)
_BLUR, _UPSAMPLE = "blur.kernel", "upsample.kernel"
_MAX_ROWS = 64  # of latent_avg
_GAIN = 4  # of the kernels in the file: twice the size has four times the pixels
_PARTS: dict[str, tuple[str, Change]] = {
    "conv.weight": ("weight", lambda t: t.squeeze(0)),
    "conv.modulation.weight": ("affine.weight", None),
    "conv.modulation.bias": ("affine.bias", None),
    "noise.weight": ("noise_strength", lambda t: t.reshape(())),
    "activate.bias": ("bias", None),
    "bias": ("bias", lambda t: t.reshape(-1)),
}


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the constant and the first layer."""
    return marked(names, ("input.input", "conv1.conv.weight"))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """The names of NVlabs' StyleGAN2. Layers blur with `blur_kernel`; images are enlarged with the default."""
    renamed = rename(tensors, _rule)
    for end, name in ((_BLUR, "synthesis.resample_filter"), (_UPSAMPLE, "synthesis.image_filter")):
        filters = {key: tensor for key, tensor in tensors.items() if key.endswith(end)}
        if filters:
            renamed[name] = one_filter(filters, _GAIN)
    if "mapping.w_avg" in renamed:
        renamed |= _average(renamed.pop("mapping.w_avg"))
    image, layers = renamed.get("synthesis.image_filter"), renamed.get("synthesis.resample_filter")
    if image is not None and layers is not None and torch.equal(image.read(), layers.read()):
        del renamed["synthesis.image_filter"]
    return renamed, {}


def _average(stored: StoredTensor) -> dict[str, StoredTensor]:
    """latent_avg: one row, or the same row once per layer (pSp, e4e). Rows that differ are not the mean of W."""
    rows = stored.shape
    if len(rows) != 2 or rows[0] == 1 or rows[0] > _MAX_ROWS:
        return {"mapping.w_avg": stored.then(lambda t: t.reshape(-1))}
    value = stored.read()
    return {"mapping.w_avg": in_memory(value[0])} if bool((value == value[0]).all()) else {}


def _rule(name: str) -> tuple[str, Change] | None:
    """Unknown names stay, to be refused by the family."""
    if name.endswith((_BLUR, _UPSAMPLE)):
        return None
    if name == "latent_avg":
        return "mapping.w_avg", None
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

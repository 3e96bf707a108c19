"""StyleGAN, StyleGAN2 and StyleGAN2-ADA as genforce names them.

Layers are numbered consecutively. As in TensorFlow, StyleGAN2's upsampling kernels are flipped, and the code adds 1 to
the biases of styles.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ...checkpoints.stored import Stored
from .places import marked
from .renaming import Change, check_lod, one_filter, rename

BESIDE = ()
_LOD = "synthesis.lod"
_GAIN = 4  # of the kernels in the file: twice the size has four times the pixels
_NORM_EPS = 1e-8
_MAPPING = {
    "mapping.label_weight": "mapping.label_concat.weight",
    "mapping.LabelEmbed.weight": "mapping.embed.weight",
    "mapping.LabelEmbed.bias": "mapping.embed.bias",
    "truncation.w_avg": "mapping.w_avg",
}
_STYLEGAN1_PARTS: dict[str, tuple[str, Change]] = {
    "apply_noise.weight": ("noise.weight", None),
    "style.weight": ("style_mod.lin.weight", None),
    "style.bias": ("style_mod.lin.bias", None),
}


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the first layer of the mapping and one of the synthesis."""
    return marked(
        names,
        ("mapping.dense0.weight", "synthesis.early_layer.const"),
        ("mapping.dense0.weight", "synthesis.layer0.const"),
    )


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """To StyleGAN1's names, or to StyleGAN2's."""
    if "synthesis.layer0.const" in tensors:
        check_lod(tensors, _LOD)
        images = [int(m[1]) for name in tensors if (m := re.fullmatch(r"synthesis\.output(\d{1,2})\.bias", name))]
        last = max(images, default=0)
        kept = {name: tensor for name, tensor in tensors.items() if name != _LOD and not _is_smaller_image(name, last)}
        return rename(kept, _stylegan1), {"norm_eps": _NORM_EPS}
    renamed = rename(tensors, _stylegan2)
    for end, name in ((".filter.kernel", "resample_filter"), (".upsample.kernel", "image_filter")):
        kernels = {key: tensor.then(_plane) for key, tensor in tensors.items() if key.endswith(end)}
        if kernels:
            renamed[f"synthesis.{name}"] = one_filter(kernels, _GAIN)
    return renamed, {}


def _is_smaller_image(name: str, last: int) -> bool:
    """Smaller images are of the progressive growing only."""
    match = re.fullmatch(r"synthesis\.output(\d{1,2})\.(weight|bias)", name)
    return match is not None and int(match[1]) < last


def _mapping(name: str, dense: str) -> tuple[str, Change]:
    if match := re.fullmatch(r"mapping\.dense(\d{1,3})\.(weight|bias)", name):
        return f"mapping.{dense}{match[1]}.{match[2]}", None
    return _MAPPING.get(name, name), None


def _stylegan1(name: str) -> tuple[str, Change]:
    match = re.fullmatch(r"synthesis\.(layer|output)(\d{1,2})\.(.+)", name)
    if not match:
        return _mapping(name, "dense")
    kind, index, part = match[1], int(match[2]), match[3]
    if kind == "output":
        return f"synthesis.torgb.{part}", None
    block = f"synthesis.blocks.{4 << index // 2}x{4 << index // 2}"
    if part == "apply_noise.noise":
        return f"synthesis.noise_const_{index}", _plane
    if part in _STYLEGAN1_PARTS:
        return f"{block}.epi{index % 2 + 1}.{_STYLEGAN1_PARTS[part][0]}", None
    if index == 0:
        return f"{block}.{part}", None
    conv = "conv" if index == 1 else f"conv{index % 2}{'' if index % 2 else '_up'}"
    if part == "blur.kernel":
        return f"{block}.{conv}.intermediate.kernel", _first_channel
    return f"{block}.{conv}.{part}", None


def _stylegan2(name: str) -> tuple[str, Change] | None:
    if name.endswith((".filter.kernel", ".upsample.kernel")):
        return None
    if name == "synthesis.early_layer.const":
        return "synthesis.b4.const", lambda t: t.squeeze(0)
    match = re.fullmatch(r"synthesis\.(layer|output)(\d{1,2})\.(.+)", name)
    if not match:
        return _mapping(name, "fc")
    kind, index, part = match[1], int(match[2]), match[3]
    if kind == "output":
        layer = f"synthesis.b{4 << index}.torgb"
    else:
        layer = f"synthesis.b{4 << (index + 1) // 2}.conv{0 if index % 2 else 1}"
    changes: dict[str, tuple[str, Change]] = {
        "style.weight": ("affine.weight", None),
        "style.bias": ("affine.bias", lambda t: t + 1),
        "noise": ("noise_const", _plane),
        "weight": ("weight", _turned if kind == "layer" and index % 2 else None),
    }
    part, change = changes.get(part, (part, None))
    return f"{layer}.{part}", change


def _plane(t: Tensor) -> Tensor:
    return t.squeeze(0).squeeze(0)


def _turned(t: Tensor) -> Tensor:
    return t.flip(2, 3)


def _first_channel(t: Tensor) -> Tensor:
    """One of the equal kernels of all channels; they are not trained."""
    return t[:1]

"""StyleGAN1 and StyleGAN2 as NVlabs' TensorFlow code names them (and lernapparat's dump of such a file).

TensorFlow keeps a dense layer as [in, out] and a convolution as [height, width, in, out]. Its StyleGAN2
turns the kernels of upsampling layers around, and leaves the 1 of a style's bias to the code.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointError
from ..stored import Stored, StoredTensor, in_memory
from .renaming import Change, rename, settings_from

_CONST = "synthesis/4x4/Const/const"
_STYLEGAN1_PARTS = {"Const": "epi1", "Conv": "epi2", "Conv0_up": "epi1", "Conv1": "epi2"}
_STYLEGAN1_CONVS = {"Conv": "conv", "Conv0_up": "conv0_up", "Conv1": "conv1"}
_STYLEGAN2_PARTS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
_SETTINGS = {"conv_clamp": "conv_clamp", "mapping_lr": "mapping_lrmul"}  # ours -> theirs, of a StyleGAN2
_NORM_EPS = 1e-8  # of the graph; the PyTorch ports have 1e-5
_DROPPED = re.compile(r"(synthesis/)?lod|synthesis/ToRGB_lod[1-9]\d*/(weight|bias)")


def recognises(names: Collection[str], metadata: dict[str, Any]) -> bool:
    """By the constant."""
    return _CONST in {_bare(name) for name in names}


def translate(tensors: Stored, metadata: dict[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """To StyleGAN1's names, or to StyleGAN2's."""
    bare = rename(tensors, _bare_rule)
    if "synthesis/4x4/Const/StyleMod/weight" in bare:
        return {**_blurs(bare), **rename(bare, _stylegan1)}, {"norm_eps": _NORM_EPS}
    if not any(re.fullmatch(r"synthesis/\d+x\d+/ToRGB/weight", name) for name in bare):
        raise CheckpointError(
            f"The network was built by {str(metadata.get('synthesis/build_func_name'))[:60]!a}.",
            "StyleGAN1, or StyleGAN2 of the configurations E and F.",
            "this variant is not supported.",
        )
    return rename(bare, _stylegan2), settings_from(metadata, _SETTINGS)


def _bare(name: str) -> str:
    """lernapparat's dump writes G_mapping/ and G_synthesis/."""
    return name.removeprefix("G_")


def _bare_rule(name: str) -> tuple[str, Change] | None:
    bare = _bare(name)
    return None if _DROPPED.fullmatch(bare) else (bare, None)


def _blurs(names: Collection[str]) -> dict[str, StoredTensor]:
    """The blur behind each upsampling, a constant of the graph that PULSE's files store."""
    row = torch.tensor([1.0, 2.0, 1.0])
    kernel = (row[:, None] * row / 16)[None, None]
    sides = [match[1] for name in names if (match := re.fullmatch(r"synthesis/(\d+)x\d+/Conv0_up/weight", name))]
    return {f"synthesis.blocks.{side}x{side}.conv0_up.intermediate.kernel": in_memory(kernel) for side in sides}


def _turned(t: Tensor) -> Tensor:
    return t.transpose(0, 1)


def _conv(t: Tensor) -> Tensor:
    return t.permute(3, 2, 0, 1)


def _flipped_conv(t: Tensor) -> Tensor:
    return t.permute(3, 2, 0, 1).flip(2, 3)


def _plus_one(t: Tensor) -> Tensor:
    return t + 1


def _mapping(name: str, dense: str) -> tuple[str, Change]:
    """The mapping network, whose layers the two families call differently."""
    if name == "dlatent_avg":
        return "mapping.w_avg", None
    if match := re.fullmatch(r"mapping/Dense(\d{1,3})/(weight|bias)", name):
        return f"mapping.{dense}{match[1]}.{match[2]}", _turned if match[2] == "weight" else None
    if match := re.fullmatch(r"mapping/LabelEmbed/(weight|bias)", name):
        return f"mapping.embed.{match[1]}", _turned if match[1] == "weight" else None
    if name == "mapping/LabelConcat/weight":
        return "mapping.label_concat.weight", None
    return name, None


def _stylegan1(name: str) -> tuple[str, Change]:
    if match := re.fullmatch(r"synthesis/noise(\d{1,3})", name):
        return f"synthesis.noise_const_{match[1]}", _plane
    if match := re.fullmatch(r"synthesis/ToRGB_lod0/(weight|bias)", name):
        return f"synthesis.torgb.{match[1]}", _conv if match[1] == "weight" else None
    match = re.fullmatch(r"synthesis/(\d+x\d+)/(Const|Conv|Conv0_up|Conv1)/(.+)", name)
    if not match:
        return _mapping(name, "dense")
    block, layer, part = f"synthesis.blocks.{match[1]}", match[2], match[3]
    if part == "Noise/weight":
        return f"{block}.{_STYLEGAN1_PARTS[layer]}.noise.weight", None
    if part in ("StyleMod/weight", "StyleMod/bias"):
        kind = part.removeprefix("StyleMod/")
        return f"{block}.{_STYLEGAN1_PARTS[layer]}.style_mod.lin.{kind}", _turned if kind == "weight" else None
    if layer == "Const":
        return f"{block}.{part}", None
    return f"{block}.{_STYLEGAN1_CONVS[layer]}.{part}", _conv if part == "weight" else None


def _stylegan2(name: str) -> tuple[str, Change]:
    if name == _CONST:
        return "synthesis.b4.const", _first
    if match := re.fullmatch(r"synthesis/noise(\d{1,3})", name):
        index = int(match[1]) - 1
        layer = "b4.conv1" if index < 0 else f"b{8 << (index // 2)}.conv{index % 2}"
        return f"synthesis.{layer}.noise_const", _plane
    match = re.fullmatch(r"synthesis/(\d+)x\d+/(Conv|Conv0_up|Conv1|ToRGB|Skip)/(.+)", name)
    if not match:
        return _mapping(name, "fc")
    layer = f"synthesis.b{match[1]}.{_STYLEGAN2_PARTS[match[2]]}"
    if match[3] == "weight":
        return f"{layer}.weight", _flipped_conv if match[2] in ("Conv0_up", "Skip") else _conv
    changes: dict[str, tuple[str, Change]] = {
        "mod_weight": ("affine.weight", _turned),
        "mod_bias": ("affine.bias", _plus_one),
    }
    part, change = changes.get(match[3], (match[3], None))
    return f"{layer}.{part}", change


def _first(t: Tensor) -> Tensor:
    return t.squeeze(0)


def _plane(t: Tensor) -> Tensor:
    return t.squeeze(0).squeeze(0)

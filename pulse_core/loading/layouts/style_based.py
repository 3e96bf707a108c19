"""StyleGAN as rosinality's style-based-gan-pytorch names it.

All layers have the run-time factor sqrt(2 / fan in). The mapping network has no learning-rate multiplier. The bias of
an upsampling layer comes before its blur. Files always have the blocks of 1024x1024 images; blocks that the training
did not reach still have their initial noise weights, 0.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ...checkpoints.stored import Stored, in_memory
from ...errors import CheckpointError
from .places import marked
from .renaming import Change, rename

BESIDE = ()
_ROOT2 = 2**0.5
_FUSED_FROM = 128
_NORM_EPS = 1e-5


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the constant and the first layer of the mapping."""
    return marked(names, ("generator.progression.0.conv1.input", "style.1.linear.weight_orig"))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """PULSE's names, of the blocks that were trained."""
    last = _last_trained(tensors)
    kept = {name: tensor for name, tensor in tensors.items() if _is_used(name, last)}
    renamed = rename(kept, _rule)
    constant = tensors["generator.progression.0.conv1.input"]
    renamed["synthesis.blocks.4x4.bias"] = in_memory(torch.zeros(constant.shape[1] if len(constant.shape) == 4 else 0))
    return renamed, {"mapping_lr": 1.0, "bias_before_blur": 1, "norm_eps": _NORM_EPS, "fused_from": _FUSED_FROM}


def _last_trained(tensors: Stored) -> int:
    trained = []
    for name, tensor in tensors.items():
        match = re.fullmatch(r"generator\.progression\.(\d{1,2})\.noise[12]\.weight_orig", name)
        if match and bool((tensor.read() != 0).any()):
            trained.append(int(match[1]))
    if not trained:
        raise CheckpointError(
            "No block of this StyleGAN was trained: all noise weights are 0.",
            "a checkpoint of a training that went on.",
            "load a later checkpoint.",
        )
    return max(trained)


def _is_used(name: str, last: int) -> bool:
    match = re.fullmatch(r"generator\.(progression|to_rgb)\.(\d{1,2})\.(.+)", name)
    if match is None:
        return True
    if match[1] == "to_rgb":
        return int(match[2]) == last
    return int(match[2]) <= last and not match[3].endswith(".weight_flip")


def _rule(name: str) -> tuple[str, Change]:
    """Unknown names stay, to be refused by the family."""
    if match := re.fullmatch(r"style\.(\d{1,2})\.linear\.(weight_orig|bias)", name):
        return f"mapping.dense{(int(match[1]) - 1) // 2}.{match[2].removesuffix('_orig')}", None
    if match := re.fullmatch(r"generator\.to_rgb\.\d+\.conv\.(weight_orig|bias)", name):
        is_weight = match[1] != "bias"
        return f"synthesis.torgb.{match[1].removesuffix('_orig')}", (lambda t: t * _ROOT2) if is_weight else None
    match = re.fullmatch(r"generator\.progression\.(\d{1,2})\.(.+)", name)
    if not match:
        return name, None
    side = 4 << int(match[1])
    part, change = _part(match[2], side)
    return f"synthesis.blocks.{side}x{side}.{part}", change


def _part(part: str, side: int) -> tuple[str, Change]:
    if part == "conv1.input":
        return "const", None
    if match := re.fullmatch(r"noise([12])\.weight_orig", part):
        return f"epi{match[1]}.noise.weight", lambda t: t.reshape(-1) * (2 / t.shape[1]) ** 0.5
    if match := re.fullmatch(r"adain([12])\.style\.linear\.(weight_orig|bias)", part):
        is_weight = match[2] != "bias"
        change: Change = (lambda t: t * _ROOT2) if is_weight else _without_one
        return f"epi{match[1]}.style_mod.lin.{match[2].removesuffix('_orig')}", change
    if match := re.fullmatch(r"conv2\.conv\.(weight_orig|bias)", part):
        return f"{'conv' if side == 4 else 'conv1'}.{match[1].removesuffix('_orig')}", None
    if match := re.fullmatch(r"conv1\.1\.conv\.(weight_orig|bias)", part):
        return f"conv0_up.{match[1].removesuffix('_orig')}", None
    if re.fullmatch(r"conv1\.0\.(weight|bias)", part) and side >= _FUSED_FROM:
        return f"conv0_up.{part[8:]}", (lambda t: t.transpose(0, 1) / 4) if part.endswith("weight") else None
    if re.fullmatch(r"conv1\.[12]\.weight", part):
        return "conv0_up.intermediate.kernel", lambda t: t[:1]
    return part, None


def _without_one(t: Tensor) -> Tensor:
    """The scale's bias is 1 where it changes nothing; the other half is the shift's."""
    scale, shift = t.chunk(2)
    return torch.cat([scale - 1, shift])

"""StyleGAN as huangzh13's StyleGAN.pytorch names it, with lernapparat's layers. By default it does not blur."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch

from ...checkpoints.stored import Stored, in_memory
from .places import marked
from .renaming import Change, rename

BESIDE = ()
_FUSED_FROM = 128
_NORM_EPS = 1e-5


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the first layers of both networks."""
    return marked(names, ("g_mapping.map.dense0.weight", "g_synthesis.init_block.const"))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """PULSE's names. Smaller images are of the progressive growing only."""
    blocks = [int(m[1]) for n in tensors if (m := re.fullmatch(r"g_synthesis\.blocks\.(\d{1,2})\.conv1\.weight", n))]
    last = max(blocks, default=-1) + 1
    smaller = re.compile(rf"g_synthesis\.to_rgb\.(?!{last}\.)\d{{1,2}}\.(weight|bias)")
    renamed = rename({name: tensor for name, tensor in tensors.items() if not smaller.fullmatch(name)}, _rule)
    none = torch.zeros(1, 1, 3, 3)
    none[..., 1, 1] = 1
    for block in blocks:
        renamed.setdefault(f"{_block(block)}.conv0_up.intermediate.kernel", in_memory(none))
    return renamed, {"norm_eps": _NORM_EPS, "fused_from": _FUSED_FROM}


def _block(index: int) -> str:
    return f"synthesis.blocks.{8 << index}x{8 << index}"


def _rule(name: str) -> tuple[str, Change]:
    name = name.replace(".top_epi.", ".")
    if name == "truncation.avg_latent":
        return "mapping.w_avg", None
    if name == "class_embedding.weight":
        return "mapping.label_concat.weight", None
    if match := re.fullmatch(r"g_synthesis\.to_rgb\.\d+\.(weight|bias)", name):
        return f"synthesis.torgb.{match[1]}", None
    if match := re.fullmatch(r"g_synthesis\.blocks\.(\d{1,2})\.(.+)", name):
        return f"{_block(int(match[1]))}.{match[2]}", None
    name = name.replace("g_mapping.map.", "mapping.")
    return name.replace("g_synthesis.init_block.", "synthesis.blocks.4x4."), None

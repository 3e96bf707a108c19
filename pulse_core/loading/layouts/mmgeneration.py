"""StyleGAN2 as MMGeneration names it: rosinality's layers under other names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ...checkpoints.stored import Stored
from . import rosinality
from .places import marked
from .renaming import Change, rename

BESIDE = ()


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the constant and the first layer of the mapping."""
    return marked(names, ("constant_input.input", "style_mapping.1.linear.weight_orig"))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """To rosinality's names, and on from there."""
    return rosinality.translate(rename(tensors, _rule), metadata)


def _rule(name: str) -> tuple[str, Change]:
    if match := re.fullmatch(r"injected_noise_(\d{1,3})", name):
        return f"noises.noise_{match[1]}", None
    name = name.replace("constant_input.input", "input.input").replace(".style_modulation.", ".modulation.")
    name = name.replace(".noise_injector.", ".noise.").replace(".linear.", ".").replace(".weight_orig", ".weight")
    return name.replace("style_mapping.", "style."), None

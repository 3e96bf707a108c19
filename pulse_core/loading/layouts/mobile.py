"""MobileStyleGAN as its training program saves it: the student, its teacher, and the mapping network of both.

The run-time factors of the layers and their demodulation, which is constant after training, are folded in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ...checkpoints.stored import Stored, StoredTensor
from .places import marked
from .renaming import Change, rename

BESIDE = ()
_LR = 0.01  # of the mapping network, the default of its program
_DEMOD_EPS = 1e-8
_USED = re.compile(r"student\..*|mapping_net\..*|style_mean")
_UNUSED = re.compile(
    r"student\.(device_info|to_img1\..*|layers\.\d+\.to_img\..*|(.*\.)?idwt\..*|.*\.style_inv|.*\.conv\.weight.*)"
)
_LAYER = re.compile(r"student\.(conv1|layers\.(\d{1,2})\.(conv[12]|up))\.(.+)")


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the student's constant and the first layer of the mapping."""
    return marked(names, ("student.input.input", "mapping_net.layers.1.weight"))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """The names of this pack, without the teacher's synthesis and the losses."""
    used = {name: tensor for name, tensor in tensors.items() if _USED.fullmatch(name)}
    translated: dict[str, StoredTensor] = {}
    last = max((int(m[1]) for name in used if (m := re.match(r"student\.layers\.(\d{1,2})\.", name))), default=0)
    for name in used:
        if match := re.fullmatch(r"(student\.(?:conv1|layers\.\d{1,2}\.conv[12]))\.conv\.modulation\.weight", name):
            translated |= _convolution(used, match[1])
    translated |= _image(used, f"student.layers.{last}.to_img")
    rest = {name: tensor for name, tensor in used.items() if not _UNUSED.fullmatch(name)}
    return {**translated, **rename(rest, _rule)}, {}


def _target(layer: str) -> str:
    match = re.fullmatch(r"student\.layers\.(\d{1,2})\.conv([12])", layer)
    return f"synthesis.block{match[1]}.conv{int(match[2]) - 1}" if match else "synthesis.conv"


def _convolution(used: Stored, layer: str) -> dict[str, StoredTensor]:
    """Weights with the modulation's factor and the demodulation folded in."""
    parts = ("weight_permute", "weight_dw") if f"{layer}.conv.weight_dw" in used else ("weight",)
    names = [f"{layer}.conv.{part}" for part in (*parts, "style_inv")]
    if any(name not in used for name in names):
        return {}
    weight, *_ = sources = [used[name] for name in names]

    def fold() -> Tensor:
        first, *others = (each.read().float() for each in sources)
        whole = first * others[0].transpose(0, 1) if len(others) == 2 else first
        scale = _scale(whole)
        norm = (scale * others[-1].reshape(1, -1, 1, 1) * whole).square().sum((1, 2, 3)) + _DEMOD_EPS
        return first * (scale * norm.rsqrt())[:, None, None, None]

    target = _target(layer)
    folded = {f"{target}.weight": StoredTensor(weight.shape, torch.float32, fold)}
    return folded | ({f"{target}.depthwise": sources[1]} if len(parts) == 2 else {})


def _image(used: Stored, layer: str) -> dict[str, StoredTensor]:
    """The last image layer. The others serve the training only."""
    target = "synthesis.to_image"
    found = {
        f"{target}.bias": (f"{layer}.bias", lambda t: t.reshape(-1)),
        f"{target}.weight": (f"{layer}.conv.weight", lambda t: t * _scale(t)),
        f"{target}.affine.weight": (f"{layer}.conv.modulation.weight", None),
        f"{target}.affine.bias": (f"{layer}.conv.modulation.bias", None),
    }
    return {
        ours: used[theirs] if change is None else used[theirs].then(change)
        for ours, (theirs, change) in found.items()
        if theirs in used
    }


def _scale(weight: Tensor) -> float:
    return float(max(weight[0].numel(), 1) ** -0.5)


def _rule(name: str) -> tuple[str, Change]:
    """Unknown names stay, to be refused by the family."""
    if name == "style_mean":
        return "mapping.w_avg", _first_row
    if name == "student.input.input":
        return "synthesis.const", lambda t: t.squeeze(0)
    if match := re.fullmatch(r"mapping_net\.layers\.(\d{1,2})\.(weight|bias)", name):
        change: Change = (lambda t: t * (_LR * t.shape[1] ** -0.5)) if match[2] == "weight" else (lambda t: t * _LR)
        return f"mapping.fc{int(match[1]) - 1}.{match[2]}", change
    if not (match := _LAYER.fullmatch(name)):
        return name, None
    part = match[4]
    target = f"synthesis.block{match[2]}.up" if match[3] == "up" else _target(f"student.{match[1]}")
    changes: dict[str, tuple[str, Change]] = {
        "modulation.weight": ("affine.weight", None),
        "modulation.bias": ("affine.bias", None),
        "conv.modulation.weight": ("affine.weight", None),
        "conv.modulation.bias": ("affine.bias", None),
        "noise.weight": ("noise_strength", lambda t: t.reshape(())),
        "bias": ("bias", lambda t: t.reshape(-1)),
    }
    part, change = changes.get(part, (part, None))
    return f"{target}.{part}", change


def _first_row(t: Tensor) -> Tensor:
    """The mean, which is stored once per layer."""
    return t.reshape(-1, t.shape[-1])[0]

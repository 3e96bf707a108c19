"""StyleGAN2 and StyleGAN3 as NVlabs' PyTorch code names them; the families here use the same names.

Settings that no tensor shows are attributes of the pickled networks; a bare state dict has none, and
gets the defaults of that code.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from ...errors import CheckpointError
from ..stored import Stored
from .renaming import settings_from

# this pack's setting -> the attribute that has it, in a StyleGAN2 and in a StyleGAN3
_STYLEGAN2 = {"conv_clamp": "synthesis.b4.conv1.conv_clamp", "mapping_lr": "mapping.fc0.bias_gain"}
_STYLEGAN3 = {
    "conv_clamp": "synthesis.L0.conv_clamp",
    "mapping_lr": "mapping.fc0.bias_gain",
    "margin": "synthesis.margin_size",
    "output_scale": "synthesis.output_scale",
    "bandwidth": "synthesis.input.bandwidth",
}


def recognises(names: Collection[str], metadata: dict[str, Any]) -> bool:
    """By the constant or by the Fourier features."""
    return "synthesis.b4.const" in names or "synthesis.input.freqs" in names


def translate(tensors: Stored, metadata: dict[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """Names stay; the same resampling filter in each layer of a StyleGAN2 becomes one."""
    _check_activations(metadata)
    if "synthesis.input.freqs" in tensors:
        short = {
            re.sub(r"^synthesis\.L(\d+)_[^.]*\.", r"synthesis.L\1.", name): value for name, value in metadata.items()
        }
        return tensors, settings_from(short, _STYLEGAN3)
    kept = {}
    for name, tensor in tensors.items():
        if re.fullmatch(r"synthesis\.b\d+\.resample_filter", name):
            kept["synthesis.resample_filter"] = tensor
        elif not name.endswith(".resample_filter"):  # a layer's own is its block's, or is not used
            kept[name] = tensor
    return kept, settings_from(metadata, _STYLEGAN2)


def _check_activations(metadata: dict[str, Any]) -> None:
    for name, value in metadata.items():
        if name.endswith(".activation") and value not in ("lrelu", "linear"):
            raise CheckpointError(
                f"The network's {name} is {str(value)[:40]!r}.",
                "'lrelu', which every published StyleGAN has.",
                "this variant is not supported.",
            )

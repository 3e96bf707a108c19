"""StyleGAN2 and StyleGAN3 as NVlabs' PyTorch code names them; the families here use the same names.

StyleGAN-XL is a StyleGAN3 with other labels. Settings that no tensor shows are attributes of the pickled networks. A
bare state dict has none: the families deduce them or use the defaults of that code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

from ...checkpoints.stored import Stored
from .places import marked
from .renaming import one_filter, refused_setting

BESIDE = ()

# Patterns of attribute names, and the one value that this pack supports.
REQUIRED: tuple[tuple[str, Any], ...] = (
    (r"mapping\.(fc\d+|embed_proj)\.activation", "lrelu"),
    (r"mapping\.embed\.activation|.*\.affine\.activation", "linear"),
    (r"synthesis\.b\d+\.conv[01]\.activation", "lrelu"),
    (r"synthesis\.b\d+\.skip\.activation", "linear"),
    (r"mapping\.(embed|embed_proj)\.bias_gain|.*\.affine\.bias_gain", 1),
    (r"synthesis\.b\d+\.conv[01]\.act_gain", math.sqrt(2)),
    (r"synthesis\.b\d+\.conv0\.up", 2),
    (r"synthesis\.b\d+\.conv1\.up", 1),
)
# Patterns of the attributes that hold a setting of this pack. All layers must agree.
_CLAMP, _LEARNING_RATE = r"synthesis\.(b\d+\.(conv[01]|torgb)|L\d+_\w+)\.conv_clamp", r"mapping\.fc\d+\.bias_gain"
_STYLEGAN2 = {"conv_clamp": _CLAMP, "mapping_lr": _LEARNING_RATE}
_STYLEGAN3 = {
    **_STYLEGAN2,
    "margin": r"synthesis\.margin_size",
    "output_scale": r"synthesis\.output_scale",
    "bandwidth": r"synthesis\.input\.bandwidth",
}
_USED_FILTER = re.compile(r"synthesis\.(b\d+\.(conv0\.|skip\.)?)?resample_filter")  # conv1 resamples nothing
_EQUAL = 1e-6  # relative: attributes of numpy's types went through float64


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the constant or by the Fourier features."""
    return marked(names, ("synthesis.b4.const",), ("synthesis.input.freqs",))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """Keeps the names; the resampling filters of a StyleGAN2's layers become one."""
    _check(metadata)
    kept = _labels(tensors)
    if "synthesis.input.freqs" in tensors:
        if "mapping.embed.weight" in tensors and "mapping.embed.bias" not in tensors:
            kept = _numbered_through(kept, metadata)
        settings = _settings(metadata, _STYLEGAN3)
        upsampling = _upsampling(metadata)
        return kept, {**settings, "lrelu_upsampling": upsampling} if upsampling is not None else settings
    filters = {name: tensor for name, tensor in kept.items() if _USED_FILTER.fullmatch(name)}
    kept = {name: tensor for name, tensor in kept.items() if not name.endswith(".resample_filter")}
    if filters:
        kept["synthesis.resample_filter"] = one_filter(filters)
    return kept, _settings(metadata, _STYLEGAN2)


def _check(metadata: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a layer that this pack would compute differently."""
    for name, value in metadata.items():
        for pattern, wanted in REQUIRED:
            if re.fullmatch(pattern, name) and not _equal(value, wanted):
                raise refused_setting(name, value, f"{wanted!r}, which every published StyleGAN has")
        is_other = name.endswith(".activation") and value not in ("lrelu", "linear")
        if is_other:
            raise refused_setting(name, value, "'lrelu' or 'linear'")


def _settings(metadata: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ours, pattern in wanted.items():
        for name, value in metadata.items():
            if re.fullmatch(pattern, name):
                if ours in found and not _equal(value, found[ours]):
                    raise refused_setting(name, value, "the same in all layers")
                found[ours] = value
    return found


def _upsampling(metadata: Mapping[str, Any]) -> float | None:
    """StyleGAN3's lrelu_upsampling: the sampling rate of the nonlinearity over the layer's."""
    ratios = {}
    for name, rate in metadata.items():
        if (match := re.fullmatch(r"(synthesis\.L\d+_\w+)\.tmp_sampling_rate", name)) is None:
            continue
        around = [metadata.get(f"{match[1]}.{side}_sampling_rate") for side in ("in", "out")]
        is_rgb = metadata.get(f"{match[1]}.is_torgb")
        rates = [float(n) for n in (rate, *around) if _is_number(n) and 0 < n < 1e9]
        if len(rates) != 3:
            raise refused_setting(name, rate, "a positive number, as are the layer's other rates")
        if not is_rgb:
            ratios[name] = rates[0] / max(rates[1:])
    for name, ratio in ratios.items():
        if not _equal(ratio, next(iter(ratios.values()))):
            raise refused_setting(name, metadata[name], "the same multiple of the larger rate in all layers")
    return next(iter(ratios.values()), None)


def _labels(tensors: Stored) -> dict[str, Any]:
    """StyleGAN-XL's table of class embeddings, which its unconditional networks store, too."""
    kept = dict(tensors)
    table, first = kept.get("mapping.embed.weight"), kept.get("mapping.fc0.weight")
    if table is None or "mapping.embed.bias" in kept:
        return kept
    if "mapping.embed_proj.weight" in kept:
        kept["mapping.class_table.weight"] = kept.pop("mapping.embed.weight")
    elif first is not None and first.shape[1:] <= table.shape[:1]:  # too narrow for an embedded class beside z
        del kept["mapping.embed.weight"]
    return kept


def _numbered_through(tensors: Stored, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """StyleGAN-XL's superresolution skips one layer number, where it replaced the image layer."""
    found = {int(m[1]) for name in tensors if (m := re.match(r"synthesis\.L(\d{1,3})_\w+\.", name))}
    missing = set(range(max(found, default=0))) - found
    latents = metadata.get("synthesis.num_ws", len(found) + 1)
    if len(missing) != 1 or latents != len(found) + 1:
        return dict(tensors)
    gap = missing.pop()

    def shifted(match: re.Match[str]) -> str:
        return f"synthesis.L{int(match[1]) - (int(match[1]) > gap)}_"

    return {re.sub(r"^synthesis\.L(\d{1,3})_", shifted, name): tensor for name, tensor in tensors.items()}


def _is_number(value: Any) -> TypeGuard[float]:
    """Numbers of numpy, which the attributes of a live network may be, are ints or floats, too."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(value: Any, wanted: Any) -> bool:
    if _is_number(value) and _is_number(wanted):
        return math.isclose(value, wanted, rel_tol=_EQUAL) if abs(value) < 1e30 and abs(wanted) < 1e30 else False
    return type(value) is type(wanted) and value == wanted

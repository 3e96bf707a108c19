"""StyleGAN1 and StyleGAN2 as NVlabs' TensorFlow code names them (and lernapparat's dump of such a file).

TensorFlow keeps a dense layer as [in, out] and a convolution as [height, width, in, out]. Its StyleGAN2
turns the kernels of upsampling layers around, and leaves the 1 of a style's bias to the code.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ...checkpoints.stored import Stored, StoredTensor, in_memory
from ...errors import CheckpointError
from .places import marked
from .renaming import MAX_TAPS, Change, check_lod, refused_setting, rename

BESIDE = ()
_CONST = "synthesis/4x4/Const/const"
_STYLEGAN1_PARTS = {"Const": "epi1", "Conv": "epi2", "Conv0_up": "epi1", "Conv1": "epi2"}
_STYLEGAN1_CONVS = {"Conv": "conv", "Conv0_up": "conv0_up", "Conv1": "conv1"}
_STYLEGAN2_PARTS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
_NORM_EPS = 1e-8  # of the graph; the PyTorch ports have 1e-5
_DROPPED = re.compile(r"(synthesis/)?lod|synthesis/ToRGB_lod[1-9]\d*/(weight|bias)")
_NEVER = 1 << 16  # pixels: a side that no image has

# Arguments of the networks' functions. These change nothing, or the shapes of the tensors show them.
SHOWN = frozenset(
    [
        "build_func_name",
        "func_name",
        "mapping_func",
        "synthesis_func",
        "num_channels",
        "resolution",
        "label_size",
        "latent_size",
        "dlatent_size",
        "dlatent_broadcast",
        "mapping_layers",
        "mapping_fmaps",
        "label_fmaps",
        "fmap_base",
        "fmap_decay",
        "fmap_min",
        "fmap_max",
        "fmap_const",
        "architecture",
        "dtype",
        "structure",
        "randomize_noise",
        "num_fp16_res",
        "fused_modconv",
        "impl",
        "is_template_graph",
        "force_clean_graph",
        "is_training",
        "is_validation",
        "return_dlatents",
        "truncation_psi",
        "truncation_cutoff",
        "truncation_psi_val",
        "truncation_cutoff_val",
        "dlatent_avg_beta",
        "style_mixing_prob",
        "min_h",
        "min_w",
        "res_log2",
    ]
)
# These must have the one value that this pack supports.
REQUIRED: dict[str, Any] = {
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "normalize_latents": True,
    "use_wscale": True,
    "use_pixel_norm": False,
    "use_instance_norm": True,
    "use_styles": True,
    "const_input_layer": True,
    "use_noise": True,
    "use_spectral_norm": False,
}
# These become a setting of this pack, or a filter.
HONOURED = frozenset(("mapping_lrmul", "conv_clamp", "fused_scale", "blur_filter", "resample_kernel"))


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the constant; lernapparat's dump writes G_synthesis/."""
    return marked(names, (_CONST,), (f"G_{_CONST}",))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """To StyleGAN1's names, or to StyleGAN2's."""
    arguments = _arguments(metadata)
    check_lod(tensors, "lod", "synthesis/lod", "G_synthesis/lod")
    bare = rename(tensors, _bare_rule)
    if "synthesis/4x4/Const/StyleMod/weight" in bare:
        settings: dict[str, Any] = {"norm_eps": _NORM_EPS, **_given(arguments, mapping_lr="mapping_lrmul")}
        if arguments.get("fused_scale", "auto") != "auto":
            settings["fused_from"] = 0 if arguments["fused_scale"] else _NEVER
        return {**_blurs(bare, arguments.get("blur_filter", (1, 2, 1))), **rename(bare, _stylegan1)}, settings
    if not any(re.fullmatch(r"synthesis/\d+x\d+/ToRGB/weight", name) for name in bare):
        raise CheckpointError(
            f"The network was built by {str(metadata.get('synthesis/build_func_name'))[:60]!a}.",
            "StyleGAN1, or StyleGAN2 of the configurations E and F.",
            "this variant is not supported.",
        )
    renamed = rename(bare, _stylegan2)
    if "resample_kernel" in arguments:
        renamed["synthesis.resample_filter"] = in_memory(_filter("resample_kernel", arguments["resample_kernel"]))
    return renamed, _given(arguments, conv_clamp="conv_clamp", mapping_lr="mapping_lrmul")


def _arguments(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the networks' functions by name. A component's own override those of the whole network.

    Raises:
        CheckpointError: an unsupported value, or an argument that NVlabs' code does not have.
    """
    found: dict[str, Any] = {}
    for full, value in sorted(metadata.items(), key=lambda pair: pair[0].count("/")):
        name = full.rpartition("/")[2]
        if name in REQUIRED and (value != REQUIRED[name] or type(value) is not type(REQUIRED[name])):
            raise refused_setting(name, value, repr(REQUIRED[name]))
        if name not in SHOWN and name not in HONOURED and name not in REQUIRED:
            raise refused_setting(name, value, "a network of NVlabs' own functions, which have no such argument")
        found[name] = value
    if found.get("fused_scale", "auto") not in ("auto", True, False):
        raise refused_setting("fused_scale", found["fused_scale"], "True, False or 'auto'")
    return found


def _given(arguments: Mapping[str, Any], **names: str) -> dict[str, Any]:
    return {ours: arguments[theirs] for ours, theirs in names.items() if theirs in arguments}


def _filter(name: str, taps: Any) -> Tensor:
    """[n] numbers -> [n, n] of sum 1; None is a box, as in NVlabs' code."""
    taps = (1, 1) if taps is None else taps
    is_usable = isinstance(taps, tuple) and 0 < len(taps) <= MAX_TAPS
    if not is_usable or not all(type(tap) in (int, float) and abs(tap) < 1e6 for tap in taps) or not sum(taps):
        raise refused_setting(name, taps, f"a list of up to {MAX_TAPS} numbers, or None")
    row = torch.tensor([float(tap) for tap in taps], dtype=torch.float64)
    return (row[:, None] * row / row.sum() ** 2).float()


def _bare(name: str) -> str:
    """lernapparat's dump writes G_mapping/ and G_synthesis/."""
    return name.removeprefix("G_")


def _bare_rule(name: str) -> tuple[str, Change] | None:
    bare = _bare(name)
    return None if _DROPPED.fullmatch(bare) else (bare, None)


def _blurs(names: Collection[str], taps: Any) -> dict[str, StoredTensor]:
    """The blur behind each upsampling, a constant of the graph that PULSE's files store."""
    taps = taps or (0, 1, 0)  # none
    if len(taps) != 3 if isinstance(taps, tuple) else True:
        raise refused_setting("blur_filter", taps, "a list of 3 numbers, or None")
    kernel = _filter("blur_filter", taps)[None, None]
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

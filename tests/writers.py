"""Writes checkpoints as other programs do: torch.save in both layouts, NVlabs' pickles for PyTorch and TensorFlow.

The pickles name classes of programs that are not installed. pickle imports a class before it writes its name, so
stand-ins are put into sys.modules while a file is written.
"""

from __future__ import annotations

import argparse
import math
import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from zoo import ZOO, Example


def save_torch(path: Path, content: Any, legacy: bool = False) -> Path:
    """torch.save, in the zip layout or in the legacy one (before torch 1.6)."""
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def rosinality(state: dict[str, Tensor], *, trained: bool = False, latent_avg: Tensor | None = None) -> dict[str, Any]:
    """A checkpoint of rosinality's programs: converted, or from training with optimiser state and arguments."""
    content: dict[str, Any] = {"g_ema": OrderedDict(state)}
    if latent_avg is not None:
        content["latent_avg"] = latent_avg
    if trained:
        optimiser = {
            "state": {0: {"step": 3, "exp_avg": torch.zeros(4)}},
            "param_groups": [{"lr": 0.002, "params": [0]}],
        }
        args = argparse.Namespace(size=64, path="data", batch=16, channel_multiplier=2)
        content |= {"g": OrderedDict(state), "d": OrderedDict(x=torch.zeros(3)), "g_optim": optimiser, "args": args}
        content["ada_aug_p"] = 0.25
    return content


@contextmanager
def stand_ins(classes: dict[str, Any]) -> Iterator[None]:
    """Puts objects under dotted names into sys.modules inside the context."""
    before = dict(sys.modules)
    for full, item in classes.items():
        module_name, _, name = full.rpartition(".")
        parents = module_name.split(".")
        for depth in range(1, len(parents) + 1):
            sys.modules.setdefault(".".join(parents[:depth]), ModuleType(".".join(parents[:depth])))
        item.__module__, item.__qualname__, item.__name__ = module_name, name, name
        setattr(sys.modules[module_name], name, item)
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


# NVlabs, PyTorch


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise AssertionError("reading a checkpoint must not call this")


class EasyDict(dict):
    pass


class Persistent:
    """Is pickled as NVlabs' persistent classes are, with the source text of its module."""

    def __init__(self, class_name: str, state: dict[str, Any]):
        self.class_name, self.state = class_name, state

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit\n", "class_name": self.class_name}
        return _reconstruct_persistent_obj, ({**meta, "state": self.state},)


def modules_of(tensors: dict[str, Tensor], metadata: dict[str, Any], class_name: str = "Generator") -> Persistent:
    """A flat state dict as a tree of modules. The metadata become attributes of the modules."""
    here: dict[str, Any] = {k: v for k, v in tensors.items() if "." not in k}
    children: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        head, dot, tail = name.partition(".")
        if dot:
            children.setdefault(head, {})[tail] = tensor
    state: dict[str, Any] = {"training": False, "_parameters": OrderedDict(), "_buffers": OrderedDict()}
    state["_parameters"]["bias_of_a_layer_without_one"] = None
    state |= {"_modules": OrderedDict(), "_non_persistent_buffers_set": set(), "_init_args": ()}
    state |= {"act_gain": np.float64(2) ** 0.5, "size": np.asarray([36, 36]), "_init_kwargs": EasyDict(c_dim=0)}
    state |= {k: v for k, v in metadata.items() if "." not in k}
    for name, tensor in here.items():
        buffer = name.endswith(("noise_const", "filter", "w_avg", "transform", "freqs", "phases", "magnitude_ema"))
        state["_buffers" if buffer else "_parameters"][name] = tensor if buffer else torch.nn.Parameter(tensor)
    for child, inner in children.items():
        below = {k.removeprefix(f"{child}."): v for k, v in metadata.items() if k.startswith(f"{child}.")}
        state["_modules"][child] = modules_of(inner, below, "Module")
    return Persistent(class_name, state)


def save_nvlabs(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any] | None = None, protocol: int = 4
) -> Path:
    """Writes {G, D, G_ema, ...}, where G_ema has these tensors."""
    names = {"torch_utils.persistence._reconstruct_persistent_obj": _reconstruct_persistent_obj}
    with stand_ins({**names, "dnnlib.util.EasyDict": EasyDict}):
        network = modules_of(tensors, metadata or {})
        other = modules_of({"weight": torch.zeros(3)}, {})
        content = {"training_set_kwargs": EasyDict(path="x"), "G": other, "D": other, "G_ema": network}
        path.write_bytes(pickle.dumps({**content, "augment_pipe": None}, protocol=protocol))
    return path


# NVlabs, TensorFlow


class Network:
    """Is pickled as a network of the TensorFlow code is."""

    arguments: ClassVar[dict[str, Any]] = {}

    def __init__(self, variables: dict[str, np.ndarray], builder: str, **components: Network):
        self.variables, self.builder, self.components = variables, builder, components

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": 4,
            "name": "G",
            "static_kwargs": {"resolution": 64, "truncation_psi": None, **self.arguments},
            "components": self.components,
            "build_module_src": "raise SystemExit\n",
            "build_func_name": self.builder,
            "variables": [(name, value[()] if value.ndim == 0 else value) for name, value in self.variables.items()],
        }


def save_tensorflow(
    path: Path,
    variables: dict[str, Tensor],
    builder: str,
    protocol: int = 4,
    arguments: dict[str, Any] | None = None,
) -> Path:
    """Writes (G, D, Gs), where Gs has these variables.

    variables: their names begin with mapping/ or synthesis/, or have no prefix.
    arguments: static_kwargs of the networks.
    """
    with stand_ins({"dnnlib.tflib.network.Network": Network}):

        def under(prefix: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(prefix): v.numpy() for k, v in variables.items() if k.startswith(prefix)}

        own = {k: v.numpy() for k, v in variables.items() if "/" not in k}
        parts = {name: Network(under(f"{name}/"), builder) for name in ("mapping", "synthesis")}
        other = Network({"lod": np.float32(0)[()] * np.ones(())}, "G_style")
        networks = (other, other, Network(own, "G_style", **parts))
        for network in (networks[2], *parts.values()):
            network.arguments = arguments or {}  # type: ignore[misc]
        path.write_bytes(pickle.dumps(networks, protocol=protocol))
    return path


def stylegan1_for_tensorflow(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """PULSE's names and layouts -> those of the TensorFlow graph, with the variables that only the graph has."""
    layers = {"conv": "Conv", "conv0_up": "Conv0_up", "conv1": "Conv1"}
    variables = {"lod": torch.tensor(0.0), "dlatent_avg": torch.linspace(-1, 1, 16), "synthesis/lod": torch.tensor(0.0)}
    variables["synthesis/ToRGB_lod3/weight"] = torch.zeros(1, 1, 8, 3)
    for name, tensor in tensors.items():
        if name.endswith("intermediate.kernel"):
            continue
        if match := re.fullmatch(r"mapping\.dense(\d)\.(\w+)", name):
            variables[f"mapping/Dense{match[1]}/{match[2]}"] = tensor.T if match[2] == "weight" else tensor
        elif name == "mapping.label_concat.weight":
            variables["mapping/LabelConcat/weight"] = tensor
        elif match := re.fullmatch(r"synthesis\.torgb\.(\w+)", name):
            variables[f"synthesis/ToRGB_lod0/{match[1]}"] = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor
        else:
            side, rest = re.fullmatch(r"synthesis\.blocks\.(\d+x\d+)\.(.+)", name).groups()
            first, second = ("Const", "Conv") if side == "4x4" else ("Conv0_up", "Conv1")
            layer, _, kind = rest.partition(".")
            if rest in ("const", "bias"):
                variables[f"synthesis/{side}/Const/{rest}"] = tensor
            elif layer in layers:
                value = tensor.permute(2, 3, 1, 0) if kind == "weight" else tensor
                variables[f"synthesis/{side}/{layers[layer]}/{kind}"] = value
            else:
                scope = f"synthesis/{side}/{first if layer == 'epi1' else second}"
                kind = kind.replace("noise.weight", "Noise/weight").replace("style_mod.lin.", "StyleMod/")
                variables[f"{scope}/{kind}"] = tensor.T if kind == "StyleMod/weight" else tensor
    for index in range(8):
        side = 4 << (index // 2)
        variables[f"synthesis/noise{index}"] = torch.full((1, 1, side, side), index / 8)
    return {name: tensor.contiguous() for name, tensor in variables.items()}


def stylegan2_for_tensorflow(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """NVlabs' PyTorch names and layouts -> those of the TensorFlow graph: kernels flipped, biases minus 1."""
    variables = {"lod": torch.tensor(0.0)}
    for name, tensor in tensors.items():
        if name.endswith("resample_filter"):
            continue
        if name == "mapping.w_avg":
            variables["dlatent_avg"] = tensor
        elif match := re.fullmatch(r"mapping\.fc(\d)\.(\w+)", name):
            variables[f"mapping/Dense{match[1]}/{match[2]}"] = tensor.T if match[2] == "weight" else tensor
        elif match := re.fullmatch(r"mapping\.embed\.(\w+)", name):
            variables[f"mapping/LabelEmbed/{match[1]}"] = tensor.T if match[1] == "weight" else tensor
        elif name == "synthesis.b4.const":
            variables["synthesis/4x4/Const/const"] = tensor[None]
        else:
            side, layer, kind = re.fullmatch(r"synthesis\.b(\d+)\.(\w+)\.(.+)", name).groups()
            if kind == "noise_const":
                index = 0 if side == "4" else 2 * int(math.log2(int(side))) - (5 if layer == "conv0" else 4)
                variables[f"synthesis/noise{index}"] = tensor[None, None]
                continue
            if kind == "weight":
                tensor = (tensor.flip(2, 3) if layer in ("conv0", "skip") else tensor).permute(2, 3, 1, 0)
            if kind == "affine.weight":
                tensor = tensor.T
            if kind == "affine.bias":
                tensor = tensor - 1
            scopes = {
                "conv0": "Conv0_up",
                "conv1": "Conv" if side == "4" else "Conv1",
                "torgb": "ToRGB",
                "skip": "Skip",
            }
            kind = kind.replace("affine.weight", "mod_weight").replace("affine.bias", "mod_bias")
            variables[f"synthesis/{side}x{side}/{scopes[layer]}/{kind}"] = tensor
    return {name: tensor.contiguous() for name, tensor in variables.items()}


# The generators of zoo.py in the formats that each of them exists in


def write_safetensors(path: Path, example: Example) -> None:
    save_file(example.tensors, path)


def write_torch(path: Path, example: Example) -> None:
    save_torch(path, example.tensors)


def write_torch_legacy(path: Path, example: Example) -> None:
    save_torch(path, example.tensors, legacy=True)


def write_lernapparat(path: Path, example: Example) -> None:
    names = {k.replace("synthesis.", "g_synthesis.").replace("mapping.", "g_mapping."): k for k in example.tensors}
    save_torch(
        path, {k.replace(".noise.weight", ".top_epi.noise.weight"): example.tensors[v] for k, v in names.items()}
    )


def write_rosinality(path: Path, example: Example) -> None:
    save_torch(path, rosinality(example.tensors))


def write_rosinality_training(path: Path, example: Example) -> None:
    save_torch(path, rosinality(example.tensors, trained=True), legacy=True)


def write_nvlabs_3(path: Path, example: Example) -> None:
    save_nvlabs(path, example.tensors, example.metadata, protocol=3)


def write_nvlabs_4(path: Path, example: Example) -> None:
    save_nvlabs(path, example.tensors, example.metadata, protocol=4)


def write_nvlabs_5(path: Path, example: Example) -> None:
    save_nvlabs(path, example.tensors, example.metadata, protocol=5)


def write_tensorflow(path: Path, example: Example) -> None:
    if example.family == "stylegan1":
        save_tensorflow(path, stylegan1_for_tensorflow(example.tensors), "G_synthesis")
    else:
        save_tensorflow(path, stylegan2_for_tensorflow(example.tensors), "G_synthesis_stylegan2")


ANY = (write_safetensors, write_torch, write_torch_legacy)
NVLABS = (write_nvlabs_3, write_nvlabs_4, write_nvlabs_5)
Writer = Callable[[Path, Example], None]
WRITERS: dict[str, tuple[Writer, ...]] = {
    "mobilestylegan": ANY,
    "stylegan1": (*ANY, write_lernapparat, write_tensorflow),
    "stylegan1 conditional": (*ANY, write_tensorflow),
    "stylegan2 skip": (*ANY, *NVLABS, write_tensorflow),
    "stylegan2 conditional": (*ANY, *NVLABS, write_tensorflow),
    "stylegan2 resnet": (*ANY, *NVLABS, write_tensorflow),
    "stylegan2 orig, grey": (*ANY, *NVLABS),
    "stylegan2 tall": (*ANY, *NVLABS),
    "stylegan2 rosinality": (*ANY, write_rosinality, write_rosinality_training),
    "stylegan3 t": (*ANY, *NVLABS),
    "stylegan3 r": (*ANY, *NVLABS),
    "stylegan3 tall": (*ANY, *NVLABS),
}
ENDINGS: dict[Writer, str] = {
    write_safetensors: ".safetensors",
    write_tensorflow: ".pkl",
    **dict.fromkeys(NVLABS, ".pkl"),
}
FORMATS = {writer.__name__.removeprefix("write_"): writer for writers in WRITERS.values() for writer in writers}


def smallest(writer: Writer) -> Example:
    """The generator of zoo.py with the fewest tensors among those in this format."""
    return min((ZOO[name]() for name in ZOO if writer in WRITERS[name]), key=lambda example: len(example.tensors))

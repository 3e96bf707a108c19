"""The MobileStyleGAN FFHQ in the wheel of PyPI's random-face -> tensors under this pack's names.

The export baked `strength * noise` of each layer into one constant map. A noise map is standard
normal, so the strength is the map's root mean square and the map divided by it is the noise again.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .openvino import Graph

_LAYERS = 7


def read_random_face(wheel: Path | str) -> dict[str, Tensor]:
    """Reads the two OpenVINO networks in the wheel; returns a MobileStyleGAN's tensors by name."""
    with zipfile.ZipFile(wheel) as archive:
        graphs = {
            network: Graph(
                archive.read(f"random_face/data/{network}Network.xml"),
                archive.read(f"random_face/data/{network}Network.bin"),
            )
            for network in ("Mapping", "Synthesis")
        }
    arrays = {**_mapping(graphs["Mapping"]), **_synthesis(graphs["Synthesis"])}
    return {name: torch.from_numpy(np.array(array, dtype=np.float32)) for name, array in arrays.items()}


def _mapping(graph: Graph) -> dict[str, np.ndarray]:
    arrays = {}
    for index, matmul in enumerate(graph.of_kind("MatMul")):
        arrays[f"mapping.fc{index}.weight"] = graph.constant_input(matmul)
        arrays[f"mapping.fc{index}.bias"] = graph.constant_input(graph.next_of_kind(matmul, "Add"))
    return arrays


def _synthesis(graph: Graph) -> dict[str, np.ndarray]:
    arrays = {"synthesis.const": graph.value(graph.named("m.input.input"))[0]}
    arrays |= _styled_conv(graph, "m.conv1", "synthesis.conv")
    for index in range(_LAYERS):
        source, target = f"m.layers.{index}", f"synthesis.block{index}"
        arrays |= _affine(graph, f"{source}.up", f"{target}.up")
        arrays |= _styled_conv(graph, f"{source}.conv1", f"{target}.conv0")
        arrays |= _styled_conv(graph, f"{source}.conv2", f"{target}.conv1")
    last = f"m.layers.{_LAYERS - 1}.to_img"
    arrays |= _affine(graph, f"{last}.conv", "synthesis.to_image")
    arrays["synthesis.to_image.weight"] = graph.value(graph.named(f"{last}.conv.weight"))
    arrays["synthesis.to_image.bias"] = graph.value(graph.named(f"{last}.bias")).reshape(-1)
    return arrays


def _affine(graph: Graph, source: str, target: str) -> dict[str, np.ndarray]:
    """A modulation's weights, with the constant that the graph multiplies its result by."""
    weight_key = graph.named(f"{source}.modulation.weight")
    weight = graph.value(weight_key)
    bias = graph.value(graph.named(f"{source}.modulation.bias")).reshape(-1)
    multiply = graph.next_of_kind(graph.next_of_kind(weight_key, "Reshape"), "Multiply")
    constants = [key for key in graph.layers[multiply].inputs if graph.layers[key].kind == "Const"]
    scale = graph.value(constants[0]).reshape(()) if constants else np.float32(1)
    return {f"{target}.affine.weight": weight * scale, f"{target}.affine.bias": bias * scale}


def _styled_conv(graph: Graph, source: str, target: str) -> dict[str, np.ndarray]:
    """The last convolution feeds the Add of the baked noise, whose result feeds the Add of the bias."""
    arrays = _affine(graph, f"{source}.conv", target)
    bias_key = graph.named(f"{source}.bias")
    add_bias = graph.consumers[bias_key][0]
    add_noise = graph.layers[add_bias].inputs[0]
    convolution = graph.layers[add_noise].inputs[0]
    if f"{source}.conv.weight_dw" in graph:
        depthwise = graph.value(graph.named(f"{source}.conv.weight_dw"))
        arrays[f"{target}.depthwise"] = depthwise.reshape(depthwise.shape[0], 1, 3, 3)
    arrays[f"{target}.weight"] = graph.constant_input(convolution)
    arrays[f"{target}.bias"] = graph.value(bias_key).reshape(-1)
    baked = graph.constant_input(add_noise)[0, 0]
    # math.fsum rounds once, so that the strength, and with it the file's hash, is the same on every machine
    strength = np.float32(math.sqrt(math.fsum(float(v) ** 2 for v in baked.reshape(-1)) / baked.size))
    arrays[f"{target}.noise_strength"] = np.asarray(strength)
    arrays[f"{target}.noise_const"] = baked / strength
    return arrays

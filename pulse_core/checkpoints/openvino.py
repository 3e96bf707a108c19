"""OpenVINO IR (an XML graph and a file of constants) -> named numpy arrays, without OpenVINO.

Only the constants and the arrows between layers are read; nothing is executed.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

import numpy as np

from ..errors import CheckpointError

_TYPES = {"f32": "<f4", "i32": "<i4", "i64": "<i8"}


@dataclass(frozen=True)
class Layer:
    """One layer: its type, its name and the ids of the layers that feed it, in the order of its inputs."""

    kind: str
    name: str
    inputs: tuple[str, ...]


class Graph:
    """The layers of one IR by id, with the values of its constants."""

    def __init__(self, xml: bytes, constants: bytes):
        root = ET.fromstring(xml)  # noqa: S314 - only files whose SHA-256 was checked get here
        inputs: dict[str, dict[int, str]] = {}
        for edge in root.iterfind("edges/edge"):
            ports = inputs.setdefault(edge.attrib["to-layer"], {})
            ports[int(edge.attrib["to-port"])] = edge.attrib["from-layer"]
        self.layers: dict[str, Layer] = {}
        self._data: dict[str, dict[str, str]] = {}
        self._constants = constants
        for layer in root.iterfind("layers/layer"):
            key = layer.attrib["id"]
            ports = inputs.get(key, {})
            self.layers[key] = Layer(layer.attrib["type"], layer.attrib["name"], tuple(ports[p] for p in sorted(ports)))
            data = layer.find("data")
            self._data[key] = dict(data.attrib) if data is not None else {}
        self._names = {node.name: key for key, node in self.layers.items()}
        self.consumers: dict[str, list[str]] = {}
        for key, node in self.layers.items():
            for source in node.inputs:
                self.consumers.setdefault(source, []).append(key)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def value(self, key: str) -> np.ndarray:
        """The array of the constant with this id."""
        node, data = self.layers[key], self._data[key]
        if node.kind != "Const":
            raise _unexpected(f"Layer {node.name!r} of the OpenVINO graph is a {node.kind} and not a constant.")
        shape = [int(part) for part in data["shape"].split(",") if part.strip()]
        start, length = int(data["offset"]), int(data["size"])
        return np.frombuffer(self._constants[start : start + length], _TYPES[data["element_type"]]).reshape(shape)

    def named(self, name: str) -> str:
        """The id of the layer with this name."""
        if name in self:
            return self._names[name]
        raise _unexpected(f"The OpenVINO graph has no layer {name!r}.")

    def of_kind(self, kind: str) -> list[str]:
        """The ids of all layers of this type, in the order of the file."""
        return [key for key, node in self.layers.items() if node.kind == kind]

    def constant_input(self, key: str) -> np.ndarray:
        """The value of the constant that feeds this layer, directly or through a reshape."""
        for source in self.layers[key].inputs:
            while self.layers[source].kind == "Reshape":
                source = self.layers[source].inputs[0]
            if self.layers[source].kind == "Const":
                return self.value(source)
        raise _unexpected(f"No constant feeds layer {self.layers[key].name!r} of the OpenVINO graph.")

    def next_of_kind(self, key: str, kind: str) -> str:
        """The nearest layer of this type downstream."""
        front = [key]
        while front:
            front = [consumer for layer in front for consumer in self.consumers.get(layer, [])]
            for layer in front:
                if self.layers[layer].kind == kind:
                    return layer
        raise _unexpected(f"No {kind} follows layer {self.layers[key].name!r} of the OpenVINO graph.")


def _unexpected(found: str) -> CheckpointError:
    return CheckpointError(
        found,
        "the graph of MobileStyleGAN as random-face 2021.7.21.1 ships it.",
        "use the release that this pack names; another export has another graph.",
    )

"""The content of a file -> tensors and plain values by name, however they are wrapped.

A checkpoint is a tree of dictionaries, lists and networks. The name of a tensor is its path of keys, joined by dots:
`g_ema.conv1.conv.weight`, `state_dict.decoder.input.input`. The layouts decide which names are a generator's.
Objects of unknown classes are skipped, unless they are torch modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from ..errors import CheckpointError
from .pickle_machine import Record
from .stored import StoredTensor, Unreadable, in_memory
from .vocabulary import TF_NETWORK, NumpyArray, TensorView

Leaf = StoredTensor | TensorView | NumpyArray | Unreadable
PLAIN = (bool, int, float, str, type(None))  # types of attributes that count as metadata

_MAX_DEPTH = 32
_MAX_ITEMS = 100_000  # a training checkpoint has about 5,000
_MAX_LIST = 1_000  # longer lists are skipped: they are data sets
_MAX_PLAIN_LIST = 64  # of numbers, such as a filter or the sizes of layers
_MAX_NAME = 400  # of a whole path; one long key could prefix very many names
_MAX_NUMBER = 1e30  # of a TensorFlow variable without dimensions
_TENSOR_LIKE = re.compile(r".*(_rebuild_|[Tt]ensor|Parameter).*")
_TENSORFLOW_FILE = ("G", "D", "Gs")  # the items of NVlabs' TensorFlow files and of lernapparat's dumps


@dataclass
class Content:
    """The tensors and the plain values of one file by name.

    unknown: names of classes and functions that were neither looked up nor called.
    """

    leaves: dict[str, Leaf] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def content_of(path: Path, item: Any, unknown: tuple[str, ...] = ()) -> Content:
    """Collects the content of an unpickled object.

    Raises:
        CheckpointError: the parts form no tree, are too many, or two have the same name.
    """
    walk = _Walk(path, Content(unknown=unknown))
    if isinstance(item, (list, tuple)) and len(item) == len(_TENSORFLOW_FILE) and not _is_plain(item):
        item = dict(zip(_TENSORFLOW_FILE, item, strict=True))
    walk.enter(item, "")
    return walk.content


def placed(path: Path, name: str, leaf: Leaf) -> StoredTensor:
    """The tensor of a leaf.

    Raises:
        CheckpointError: it is larger than its storage, or of an unsupported type.
    """
    reason = leaf.reason if isinstance(leaf, Unreadable) else "an array of objects"
    tensor: StoredTensor | None = None
    if isinstance(leaf, StoredTensor):
        tensor = leaf
    elif isinstance(leaf, NumpyArray):
        tensor = leaf.tensor
    elif isinstance(leaf, TensorView):
        tensor = leaf.place()
        if tensor is None:
            raise CheckpointError(
                f"{path} is damaged: its tensor {name[:80]!a} is larger than the numbers stored for it.",
                "a whole checkpoint file.",
                "download it again.",
            )
    if tensor is None:
        raise CheckpointError(
            f"The tensor {name[:80]!a} of {path} has {reason}.",
            "weights of float32, float64, float16 or bfloat16.",
            "save the generator in one of these types, from the file that it was quantised or converted from.",
        )
    return tensor


def below(metadata: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values whose names begin with a prefix, without that prefix."""
    return {name[len(prefix) :]: value for name, value in metadata.items() if name.startswith(prefix)}


def same_leaf(one: Leaf, other: Leaf) -> bool:
    """Whether both are the same numbers in the file."""
    if isinstance(one, TensorView) and isinstance(other, TensorView):
        views = [(id(v.storage), v.offset, v.shape, v.strides) for v in (one, other)]
        return views[0] == views[1]
    return one is other


def _is_plain(items: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(item, PLAIN) for item in items)


class _Walk:
    """Collects the leaves and plain values below an item."""

    def __init__(self, path: Path, content: Content):
        self.path, self.content = path, content
        self._left = _MAX_ITEMS
        self._above: set[int] = set()

    def enter(self, item: Any, name: str) -> None:
        """Collects an item of any kind. name: its path, without a trailing dot."""
        self._left -= 1
        is_above = id(item) in self._above and isinstance(item, (dict, list, tuple, Record))
        if is_above or self._left < 0:
            self._no_tree(name)
        if isinstance(item, PLAIN):
            self.content.metadata[name] = item
        elif isinstance(item, (StoredTensor, TensorView, NumpyArray, Unreadable)):
            self._keep(name, item)
        elif len(self._above) < _MAX_DEPTH:
            self._above.add(id(item))
            for key, inner in self._inside(item, name):
                self.enter(inner, key)
            self._above.discard(id(item))
        elif isinstance(item, Record):
            self._no_tree(name)

    def _inside(self, item: Any, name: str) -> Iterator[tuple[str, Any]]:
        dot = f"{name}." if name else ""
        if isinstance(item, dict):
            yield from self._named(item, dot)
        elif isinstance(item, (list, tuple)):
            if len(item) <= _MAX_PLAIN_LIST and _is_plain(item):
                self.content.metadata[name] = tuple(item)
            elif len(item) <= _MAX_LIST:
                yield from ((f"{dot}{index}", inner) for index, inner in enumerate(item))
        elif isinstance(item, Record) and item.kind == TF_NETWORK:
            yield from self._tensorflow(item, dot)
        elif isinstance(item, Record) and any(isinstance(item.state.get(kind), dict) for kind in _MODULE_STATE):
            yield from self._module(item, dot)
        elif isinstance(item, Record) and _TENSOR_LIKE.fullmatch(item.kind):
            self._keep(name, Unreadable(f"numbers in a {ascii(item.kind[:60])[1:-1]}"))

    def _named(self, items: Mapping[Any, Any], before: str) -> Iterator[tuple[str, Any]]:
        for key, inner in items.items():
            if isinstance(key, (str, int)):
                text = str(key)
                if len(before) + len(text) > _MAX_NAME:
                    self._bad_name(before + text[:80])
                yield before + text, inner

    def _module(self, module: Record, dot: str) -> Iterator[tuple[str, Any]]:
        """A torch module: parameters, buffers and submodules as state_dict() names them, and plain attributes."""
        self.content.metadata[f"{dot}class_name"] = module.kind
        for key, value in self._named(module.state, dot):
            is_list = isinstance(value, (list, tuple)) and len(value) <= _MAX_PLAIN_LIST and _is_plain(value)
            if (isinstance(value, PLAIN) or is_list) and not key.removeprefix(dot).startswith("_"):
                yield key, value
        for kind in _MODULE_STATE:
            children = module.state.get(kind)
            for key, value in self._named(children, dot) if isinstance(children, dict) else ():
                if value is not None:
                    is_odd = kind != "_modules" and not isinstance(value, (TensorView, NumpyArray, Unreadable))
                    yield key, Unreadable(f"a {type(value).__name__}") if is_odd else value

    def _tensorflow(self, network: Record, before: str) -> Iterator[tuple[str, Any]]:
        """A network of NVlabs' TensorFlow code: variables, arguments, and components under NAME/."""
        state = network.state
        variables, components, arguments = (state.get(k) for k in ("variables", "components", "static_kwargs"))
        if not isinstance(variables, list) or not isinstance(components, dict):
            self._damaged(f"its network {before[:80]!a} has no variables")
        builder = state.get("build_func_name")
        yield f"{before}build_func_name", builder[:100] if isinstance(builder, str) else None
        yield from self._named(arguments, before) if isinstance(arguments, dict) else ()
        for pair in variables:
            self._left -= 1
            match pair:
                case (str(name), NumpyArray() as array):
                    yield from self._named({name: array}, before)
                case (str(name), float() | int() as number) if abs(number) < _MAX_NUMBER:
                    yield from self._named({name: in_memory(torch.tensor(float(number)))}, before)
                case _:
                    self._damaged(f"its network {before[:80]!a} has a variable that is no array")
        for name, component in components.items():
            if not isinstance(component, Record) or component.kind != TF_NETWORK or not isinstance(name, str):
                self._damaged(f"its network {before[:80]!a} has a component that is no network")
            yield from self._component(component, f"{before}{name}/")

    def _component(self, network: Record, before: str) -> Iterator[tuple[str, Any]]:
        if id(network) in self._above or len(self._above) >= _MAX_DEPTH or len(before) > _MAX_NAME:
            self._no_tree(before)
        self._above.add(id(network))
        yield from self._tensorflow(network, before)
        self._above.discard(id(network))

    def _keep(self, name: str, leaf: Leaf) -> None:
        if name in self.content.leaves:
            self._bad_name(name)
        self.content.leaves[name] = leaf

    def _bad_name(self, name: str) -> NoReturn:
        raise CheckpointError(
            f"{self.path} holds the name {name[:80]!a} twice, or it is too long.",
            f"each name once, of at most {_MAX_NAME:,} letters.",
            "download the file again.",
        )

    def _no_tree(self, name: str) -> NoReturn:
        raise CheckpointError(
            f"{self.path} holds {name[:80]!a} inside of itself or in several places, or more than "
            f"{_MAX_ITEMS:,} items.",
            "a checkpoint whose parts form a tree.",
            "download the file again from a source you trust.",
        )

    def _damaged(self, reason: str) -> NoReturn:
        raise CheckpointError(f"{self.path} is damaged: {reason}.", "a whole checkpoint file.", "download it again.")


_MODULE_STATE = ("_parameters", "_buffers", "_modules")

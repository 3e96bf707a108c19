"""What a pickle held -> the generator's tensors by name, and metadata about it.

Files keep the generator in different places: a state dict by itself; under "g_ema" beside the
discriminator and the optimiser (rosinality); a network object under "G_ema" (NVlabs, PyTorch); the last
of three network objects (NVlabs, TensorFlow).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch

from ..errors import CheckpointError
from .stored import StoredTensor, in_memory
from .vocabulary import TF_NETWORK, NumpyArray, Record, TensorView

# Where a generator's own entry is, the moving average of its weights first.
_PLACES = ("G_ema", "g_ema", "params_ema", "G", "g", "generator", "state_dict")
_MAX_DEPTH = 32
_MAX_NAME = 1000  # prefixes included: one long prefix could be put before very many names
_MAX_NUMBER = 1e30  # of a TensorFlow variable without dimensions
PLAIN = (bool, int, float, str, type(None))  # what an attribute may be, to count as a fact


def tensors_and_facts(path: Path, content: Any) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """Tensors by name, and plain attributes by name (module.attribute).

    Raises:
        CheckpointError: there is no generator in it.
    """
    if isinstance(content, dict):
        for place in _PLACES:
            if isinstance(content.get(place), (dict, Record)):
                beside = {k: v for k, v in content.items() if isinstance(v, TensorView)}  # rosinality's latent_avg
                return _collect(path, content[place], beside)
    if isinstance(content, (list, tuple)) and len(content) == 3:
        return _collect(path, content[-1], {})  # (G, D, Gs), also of lernapparat's intermediate files
    return _collect(path, content, {})


def _collect(path: Path, item: Any, beside: dict[Any, Any]) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    if isinstance(item, Record) and item.kind == TF_NETWORK:
        pairs = _walk_tensorflow(path, item, "", set())
    elif isinstance(item, Record):
        pairs = _walk_modules(path, item, "", set())
    elif (
        isinstance(item, dict) and item and all(isinstance(value, (TensorView, NumpyArray)) for value in item.values())
    ):
        pairs = iter({**item, **beside}.items())
    else:
        _no_generator(path, item)
    tensors, metadata = {}, {}
    for key, value in pairs:
        name = str(key)
        if len(name) > _MAX_NAME or (name in tensors and not isinstance(value, PLAIN)):
            raise CheckpointError(
                f"{path} holds the name {name[:80]!a} twice, or it is too long.",
                f"each name once, of at most {_MAX_NAME:,} letters.",
                "download the file again.",
            )
        if isinstance(value, PLAIN):
            metadata[name] = value
        else:
            tensors[name] = _placed(path, name, value)
    return tensors, metadata


def _placed(path: Path, name: str, value: Any) -> StoredTensor:
    if isinstance(value, StoredTensor):
        return value
    tensor = value.tensor if isinstance(value, NumpyArray) else value.place()
    if tensor is None:
        raise CheckpointError(
            f"{path} is damaged: its tensor {name[:80]!a} is larger than the numbers stored for it.",
            "a whole checkpoint file.",
            "download it again.",
        )
    return tensor


def _walk_modules(path: Path, module: Record, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Parameters and buffers of a network as its state_dict() names them, then its plain attributes."""
    _enter(path, module, prefix, seen)
    yield f"{prefix}class_name", module.kind
    for name, value in module.state.items():
        if isinstance(value, PLAIN) and not str(name).startswith("_"):
            yield f"{prefix}{name}", value
    for kind in ("_parameters", "_buffers", "_modules"):
        children = module.state.get(kind, {})
        if not isinstance(children, dict):
            _no_generator(path, module)
        for name, value in children.items():
            if isinstance(value, (TensorView, NumpyArray)):
                yield f"{prefix}{name}", value
            elif isinstance(value, Record):
                yield from _walk_modules(path, value, f"{prefix}{name}.", seen)
            elif value is not None:
                _no_generator(path, value)


def _walk_tensorflow(path: Path, network: Record, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The variables of a network and of its components; numbers stand for tensors without dimensions."""
    state = network.state
    variables, components = state.get("variables"), state.get("components")
    _enter(path, network, prefix, seen)
    if not isinstance(variables, list) or not isinstance(components, dict):
        _no_generator(path, network)
    builder = state.get("build_func_name")
    yield f"{prefix}build_func_name", builder if isinstance(builder, str) else None
    kwargs = state.get("static_kwargs")
    for name, value in kwargs.items() if isinstance(kwargs, dict) else ():
        if isinstance(value, PLAIN):
            yield f"{prefix}{name}", value
    for pair in variables:
        match pair:
            case (str(name), NumpyArray() as array):
                yield f"{prefix}{name}", array
            case (str(name), float() | int() as number) if abs(number) < _MAX_NUMBER:
                yield f"{prefix}{name}", in_memory(torch.tensor(float(number)))
            case _:
                _no_generator(path, network)
    for name, component in components.items():
        if not isinstance(component, Record) or component.kind != TF_NETWORK:
            _no_generator(path, component)
        yield from _walk_tensorflow(path, component, f"{prefix}{name}/", seen)


def _enter(path: Path, record: Record, prefix: str, seen: set[int]) -> None:
    """Networks are trees: one that holds itself, or one part many times, could be walked for ever."""
    if id(record) in seen or prefix.count(".") + prefix.count("/") > _MAX_DEPTH:
        raise CheckpointError(
            f"{path} holds a network with {prefix[:80]!a} inside of itself or in several places.",
            "a network whose parts form a tree.",
            "download the file again from a source you trust.",
        )
    seen.add(id(record))


def _no_generator(path: Path, found: Any) -> NoReturn:
    what = f"a {found.kind[:80]!a}" if isinstance(found, Record) else f"a {type(found).__name__}"
    if isinstance(found, dict):
        what = f"a dictionary of {', '.join(ascii(key)[:40] for key in list(found)[:3]) or 'nothing'}"
    raise CheckpointError(
        f"{path} holds no generator that could be recognised ({what}).",
        "a state dict, a rosinality checkpoint, or a network of NVlabs' files.",
        "save the generator's state_dict() and load that.",
    )

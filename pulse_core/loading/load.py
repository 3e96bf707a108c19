"""A name or a file -> a Generator on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import Checkpoint, read_checkpoint
from ..checkpoints.stored import Stored, StoredTensor, stored
from ..checkpoints.tree import below, placed
from ..defaults import own_defaults
from ..generators import Generator, build_generator
from . import catalogue
from .layouts import LAYOUTS, translate
from .layouts.places import Place, beside, find


@own_defaults
def load_generator(
    source: Path | str = catalogue.DEFAULT_GENERATOR,
    mapping: Path | str | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Generator:
    """Loads a generator of any known family from a file of any known format; nothing in it is executed.

    Args:
        source: a name of the catalogue, or the path of a checkpoint.
        mapping: the file of the mapping network where that is a file of its own (PULSE's mapping.pt);
            None takes the one beside `source` that is named alike.

    Returns: a frozen Generator in eval mode.

    Raises:
        CheckpointError: the file is missing, damaged, unknown, or not a generator.
    """
    path = catalogue.locate(source)
    companion = Path(mapping) if mapping is not None else _companion(path)
    files = (path,) if companion is None else (path, companion)
    found = read_generator(files)
    generator = build_generator(found.tensors, found.settings, name=display_name(path), dtype=dtype).to(device)
    generator.files = files
    if found.place is not None:
        generator.place, generator.others = found.place.prefix, found.place.others
    return generator


@dataclass(frozen=True)
class Found:
    """A generator in files: its tensors under this pack's names, its settings, and its place in the first file.

    metadata: the plain values of the first file.
    """

    tensors: Stored
    settings: dict[str, Any]
    place: Place | None
    metadata: dict[str, Any]


def read_generator(files: Sequence[Path]) -> Found:
    """Reads a generator from one file, or from one file per half.

    Raises:
        CheckpointError: a file is missing, damaged or unsupported, or holds several generators.
    """
    checkpoints = [read_checkpoint(file) for file in files]
    places = [find(LAYOUTS, each.content.leaves, each.metadata) for each in checkpoints]
    first, metadata = places[0], checkpoints[0].metadata
    if first is None or any(place is None or place.layout is not first.layout for place in places):
        tensors = {name: tensor for each in checkpoints for name, tensor in each.tensors.items()}
        return Found(tensors, {}, None, metadata)
    inside: dict[str, StoredTensor] = {}
    for checkpoint, place in zip(checkpoints, places, strict=True):
        assert place is not None
        inside |= _at(checkpoint, place)
    translated, settings = first.layout.translate(inside, below(metadata, first.prefix))
    return Found(translated, settings, first, metadata)


def _at(checkpoint: Checkpoint, place: Place) -> dict[str, StoredTensor]:
    """The tensors of a generator, with those that its layout stores next to it."""
    leaves = checkpoint.content.leaves
    names = beside(leaves, place.prefix, place.layout.BESIDE)
    around = {name: placed(checkpoint.path, full, leaves[full]) for name, full in names.items()}
    return {**around, **checkpoint.part(place.prefix)}


def generator_from(
    tensors: Stored | Mapping[str, Tensor],
    metadata: dict[str, Any] | None = None,
    *,
    name: str,
    dtype: torch.dtype = torch.float32,
) -> Generator:
    """Builds a generator from tensors, such as a state dict, in any supported program's names.

    Args:
        metadata: plain attributes of the network by name, as far as the tensors' source has them.

    Raises:
        CheckpointError: see `load_generator`.
    """
    own, settings = translate(stored(tensors), metadata or {})
    return build_generator(own, settings, name=name, dtype=dtype)


def display_name(path: Path) -> str:
    """The catalogue's name for one of its files, else the file's name without its ending."""
    known = catalogue.entry_of_file(path.name)
    return known.name if known is not None and known.source is not None else path.stem


def _companion(path: Path) -> Path | None:
    """mapping.pt beside synthesis.pt, and likewise for longer names."""
    if "synthesis" not in path.name:
        return None
    other = path.with_name(path.name.replace("synthesis", "mapping"))
    return other if other.is_file() else None

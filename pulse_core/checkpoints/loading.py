"""A name or a file -> a Generator on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..fetching import catalogue
from ..generators import Generator, build_generator
from . import read_checkpoint
from .layouts import translate
from .stored import Stored, stored


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
    tensors, metadata = read_files(files)
    generator = generator_from(tensors, metadata, name=display_name(path), dtype=dtype).to(device)
    generator.files = files
    return generator


def read_files(files: Sequence[Path]) -> tuple[Stored, dict[str, Any]]:
    """The tensors of a generator's files together, and what the first of them says besides.

    Raises:
        CheckpointError: one is missing, damaged or unknown.
    """
    checkpoints = [read_checkpoint(file) for file in files]
    tensors = {name: tensor for checkpoint in checkpoints for name, tensor in checkpoint.tensors.items()}
    return tensors, checkpoints[0].metadata if checkpoints else {}


def generator_from(
    tensors: Stored | Mapping[str, Tensor],
    metadata: dict[str, Any] | None = None,
    *,
    name: str,
    dtype: torch.dtype = torch.float32,
) -> Generator:
    """A generator out of tensors, such as a state dict, under the names of any known program.

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

"""Checkpoint files -> tensors and metadata about them. Nothing in a file is ever executed.

To add a format: one file with `recognises(head)` and `read(path)`, and one entry in FORMATS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from . import pickle_format, safetensors_format, torch_format
from .stored import Stored

FORMATS = (safetensors_format, torch_format, pickle_format)
_SHARING = 4  # how many times over a file's bytes may be shown as tensors
_MAX_TENSORS = 10_000  # the largest generators have some 1,000
SUFFIXES = tuple(suffix for form in FORMATS for suffix in form.SUFFIXES)


@dataclass(frozen=True)
class Checkpoint:
    """The content of one file: tensors by name (still in the file), what it says besides, its format."""

    path: Path
    format: str
    tensors: Stored
    metadata: dict[str, Any]


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Reads a file of any known format, told apart by its first bytes and not by its name.

    Raises:
        CheckpointError: missing, a directory, empty, cut off, of an unknown format, or without tensors.
    """
    path = Path(path)
    accepted = "a checkpoint file: " + ", ".join(f"{form.NAME} ({' '.join(form.SUFFIXES)})" for form in FORMATS) + "."
    if path.is_dir():
        raise CheckpointError(f"{path} is a directory.", accepted, "name the file inside it.")
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}.", accepted, "check the path.")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path} is empty.", accepted, "download it again.")
    for form in FORMATS:
        if form.recognises(head):
            tensors, metadata = form.read(path)
            if not tensors:
                raise CheckpointError(f"{path} holds no tensors.", accepted, "check that it is the right file.")
            _check_size(path, tensors)
            return Checkpoint(path, form.NAME, tensors, metadata)
    raise CheckpointError(
        f"{path} begins with {head[:8]!r}, which no known checkpoint format does.",
        accepted,
        "check that the download is the file itself and not a web page about it.",
    )


def _check_size(path: Path, tensors: Stored) -> None:
    """Tensors may share their numbers, but a small file that stands for gigabytes is an attack."""
    size, nbytes = path.stat().st_size, sum(tensor.nbytes for tensor in tensors.values())
    if nbytes > _SHARING * size or len(tensors) > _MAX_TENSORS:
        raise CheckpointError(
            f"{path} has {size:,} bytes but {len(tensors):,} tensors of {nbytes:,} bytes.",
            f"a file about as large as its tensors, with {_MAX_TENSORS:,} of them at most.",
            "download it again from a source you trust.",
        )

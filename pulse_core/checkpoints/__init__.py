"""Checkpoint files -> tensors and facts about them. Nothing in a file is ever executed.

To add a format: one file with `recognises(head)` and `read(path)`, and one entry in FORMATS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import CheckpointError
from . import safetensors_format, torch_format

FORMATS = (safetensors_format, torch_format)
SUFFIXES = tuple(suffix for form in FORMATS for suffix in form.SUFFIXES)


@dataclass(frozen=True)
class Checkpoint:
    """The content of one file: tensors by name, the metadata it carries, its format."""

    path: Path
    format: str
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


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
            return Checkpoint(path, form.NAME, tensors, metadata)
    raise CheckpointError(
        f"{path} begins with {head[:8]!r}, which no known checkpoint format does.",
        accepted,
        "check that the download is the file itself and not a web page about it.",
    )

"""Checkpoint files -> tensors and metadata about them. Nothing in a file is ever executed.

To add a format: one file with `recognises(head)` and `read(path)`, and one entry in FORMATS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from . import pickle_format, safetensors_format, torch_format
from .other_formats import of_beginning
from .pickle_machine import asks_to_run
from .stored import Stored, StoredTensor
from .tree import Content, placed

FORMATS = (safetensors_format, torch_format, pickle_format)
_SHARING = 4  # the limit of tensor bytes per byte of the file
_MAX_TENSORS = 10_000  # the largest generators have about 1,000
SUFFIXES = tuple(suffix for form in FORMATS for suffix in form.SUFFIXES)


@dataclass(frozen=True)
class Checkpoint:
    """The content of one file. Its numbers are read only on request.

    path: of the file. format: the name of its format. content: tensors and plain values by name.
    """

    path: Path
    format: str
    content: Content

    @property
    def metadata(self) -> dict[str, Any]:
        """The plain values in the file, by name."""
        return self.content.metadata

    @property
    def tensors(self) -> dict[str, StoredTensor]:
        """All tensors in the file, by name. Raises CheckpointError as `part` does."""
        return self.part("")

    def part(self, prefix: str) -> dict[str, StoredTensor]:
        """The tensors whose names begin with `prefix`, without that prefix.

        Raises:
            CheckpointError: a tensor is damaged or unsupported, or the tensors are much larger than the file.
        """
        leaves = self.content.leaves
        tensors = {
            name[len(prefix) :]: placed(self.path, name, leaf)
            for name, leaf in leaves.items()
            if name.startswith(prefix)
        }
        _check_size(self.path, tensors)
        return tensors


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Reads a file of any supported format. Its first bytes decide which, not its name.

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
            content = form.read(path)
            if not content.leaves:
                raise _empty(path, content, accepted)
            return Checkpoint(path, form.NAME, content)
    known = of_beginning(head)
    if known is not None:
        raise CheckpointError(f"{path} is {known[0]} (it begins with {head[:9]!r}).", accepted, known[1])
    raise CheckpointError(
        f"{path} begins with {head[:8]!r}, which no known checkpoint format does.",
        accepted,
        "check that the download is the file itself and not a web page about it.",
    )


def _empty(path: Path, content: Content, accepted: str) -> CheckpointError:
    if content.unknown:
        return asks_to_run(path, content.unknown[0])
    return CheckpointError(f"{path} holds no tensors.", accepted, "check that it is the right file.")


def _check_size(path: Path, tensors: Stored) -> None:
    """Tensors may share storage, but a small file that claims gigabytes is an attack."""
    size, nbytes = path.stat().st_size, sum(tensor.nbytes for tensor in tensors.values())
    if nbytes > _SHARING * size or len(tensors) > _MAX_TENSORS:
        raise CheckpointError(
            f"{path} has {size:,} bytes but {len(tensors):,} tensors of {nbytes:,} bytes.",
            f"a file about as large as its tensors, with {_MAX_TENSORS:,} of them at most.",
            "download it again from a source you trust.",
        )

"""safetensors: a JSON header and raw bytes; this pack's own format."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError
from ..files import whole_file

NAME = "safetensors"
SUFFIXES = (".safetensors",)


def recognises(head: bytes) -> bool:
    """Eight bytes of header length, then the header's brace."""
    return head[8:9] == b"{"


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata."""
    try:
        with safe_open(path, "pt") as file:
            # cloned out of the mapped file, which may be replaced while they are in use
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no dict
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"{path} is a damaged safetensors file ({error}).",
            "a whole safetensors file.",
            "download or convert it again; it may have been cut off on the way.",
        ) from error


def write(path: Path | str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes a file, whole or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    with whole_file(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            raise OSError(f"{path} could not be written: {error}") from error

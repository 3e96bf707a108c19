"""safetensors: a JSON header and raw bytes; this pack's own format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError
from ..files import whole_file
from .stored import Span, StoredTensor, Unreadable, tensor_in
from .tree import Content, placed

NAME = "safetensors"
SUFFIXES = (".safetensors",)

_MAX_HEADER = 1 << 22  # bytes; the largest generators have about 100 KB

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def recognises(head: bytes) -> bool:
    """Eight bytes of header length, then the header's brace."""
    return head[8:9] == b"{"


def read(path: Path) -> Content:
    """All tensors, and the metadata.

    safetensors itself checks the header, and the numbers are then read as for any format: opening the file
    for each tensor anew would read the whole header each time.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER:
            raise _damaged(path, f"it has a header of {length:,} bytes")
        text = file.read(length)
    try:
        with safe_open(path, "pt"):
            header = json.loads(text)
    except (
        SafetensorError,
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # json is stricter
        raise _damaged(path, str(error)) from error
    metadata = header.pop("__metadata__", None) or {}
    return Content({name: _tensor(path, 8 + length, name, entry) for name, entry in header.items()}, metadata)


def load(path: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """The tensors and metadata of a file. Raises CheckpointError as `read` does."""
    if not path.is_file():  # nor is a pipe opened, which would be waited for
        raise CheckpointError(f"There is no file {path}.", "a .safetensors file.", "check the path.")
    content = read(path)
    return {name: placed(path, name, leaf) for name, leaf in content.leaves.items()}, content.metadata


def _tensor(path: Path, start: int, name: str, entry: dict[str, Any]) -> StoredTensor | Unreadable:
    kind, (begin, end) = entry["dtype"], entry["data_offsets"]
    if kind not in _TYPES:
        return Unreadable(f"numbers of the type {kind}")
    tensor = tensor_in(Span(path, start + begin, end - begin), _TYPES[kind], tuple(entry["shape"]))
    if tensor is None:
        raise _damaged(path, f"it has a tensor {name[:80]!a} of {len(entry['shape']):,} dimensions")
    return tensor


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is a damaged safetensors file ({reason[:300]}).",
        "a whole safetensors file.",
        "download or convert it again; it may have been cut off on the way.",
    )


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

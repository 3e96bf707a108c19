"""safetensors: a JSON header and raw bytes; this pack's own format."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError
from ..files import whole_file
from .stored import StoredTensor

NAME = "safetensors"
SUFFIXES = (".safetensors",)

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


def read(path: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """All tensors, and the metadata as facts."""
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            tensors = {
                name: StoredTensor(tuple(part.get_shape()), _TYPES[part.get_dtype()], partial(_read, path, name))
                for name, part in slices.items()
            }
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise _damaged(path, str(error)) from error
    except KeyError as error:
        raise _damaged(path, f"numbers of the type {error}") from error


def _read(path: Path, name: str) -> Tensor:
    """One tensor, copied out of the mapped file, which may be replaced while the tensor is in use.

    The file is mapped for each tensor anew: pages of a mapping count as memory for as long as it lives.
    """
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor(name).clone()
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is a damaged safetensors file ({reason}).",
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

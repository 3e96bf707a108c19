"""torch.save files (.pt, .pth), both the zip and the legacy layout, read with weights_only=True."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError

NAME = "PyTorch"
SUFFIXES = (".pt", ".pth")

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # the pickled magic number of torch < 1.6


def recognises(head: bytes) -> bool:
    """A zip archive, or the magic number of the legacy layout."""
    return head.startswith((_ZIP, _LEGACY))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a state dict; the format carries no metadata."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as plain tensors ({reason[:200]}).",
            "a whole torch.save file that holds tensors and containers only.",
            "download it again if it was cut off; a file that needs its own code to load is never executed.",
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        kind = type(content).__name__
        raise CheckpointError(
            f"{path} holds a {kind} that is not a state dict.",
            "a dictionary of tensors by name.",
            "save the generator's state_dict() and load that.",
        )
    return {str(name): tensor for name, tensor in content.items()}, {}

"""NVlabs' .pkl files: networks pickled as objects, by PyTorch (stylegan2-ada, stylegan3) or by TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .pickle_content import tensors_and_facts
from .pickle_machine import Machine
from .stored import StoredTensor
from .torch_legacy import MAGIC
from .vocabulary import CheckpointWords

NAME = "NVlabs pickle"
SUFFIXES = (".pkl",)


def recognises(head: bytes) -> bool:
    """The opcode PROTO and its version, but not torch.save's magic number."""
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and not head.startswith(MAGIC)


def read(path: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """The tensors of the moving-average generator and its networks' attributes; see pickle_content.py."""
    with path.open("rb") as file:
        content = Machine(file, path, 0, path.stat().st_size, CheckpointWords()).run()
    return tensors_and_facts(path, content)

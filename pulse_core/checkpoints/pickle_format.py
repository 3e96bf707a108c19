"""NVlabs' .pkl files: networks pickled as objects, by PyTorch (stylegan2-ada, stylegan3) or by TensorFlow."""

from __future__ import annotations

from pathlib import Path

from .pickle_machine import Machine
from .torch_legacy import MAGIC
from .tree import Content, content_of
from .vocabulary import CheckpointWords

NAME = "NVlabs pickle"
SUFFIXES = (".pkl",)


def recognises(head: bytes) -> bool:
    """The opcode PROTO and its version, but not torch.save's magic number."""
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and not head.startswith(MAGIC)


def read(path: Path) -> Content:
    """The tensors and attributes of all networks in the file; see tree.py."""
    words = CheckpointWords()
    with path.open("rb") as file:
        item = Machine(file, path, 0, path.stat().st_size, words).run()
    return content_of(path, item, tuple(words.unknown))

"""The layout of torch.save before 1.6, in which pickled networks still hold their storages.

Five pickles (a magic number, a version, metadata about the system, the object, the keys of its storages),
then for each key the number of elements in eight bytes and the elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch

from .pickle_machine import Machine, Words
from .stored import Span

MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # the first pickle, without its last byte


@dataclass(eq=False)
class Storage:
    """Numbers of one type in the file. `span` is None until their place is known."""

    dtype: torch.dtype
    length: int
    span: Span | None = None


class StorageWords(Words, Protocol):
    """Words that collect the storages that a pickle refers to."""

    storages: dict[str, Storage] | None


def read_legacy(file: BinaryIO, path: Path, span: Span, words: StorageWords, budget: list[int] | None = None) -> Any:
    """The object in a file of this layout, with its storages placed.

    Raises:
        CheckpointError: damaged, cut off, or asking for code.
    """
    machine = Machine(file, path, span.start, span.start + span.length, words, budget)
    parts = [_next_pickle(machine) for _ in range(5)]
    _, _, system, content, keys = parts
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        machine.damaged("its numbers are in an unknown byte order")
    storages = words.storages or {}
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        machine.damaged("its list of tensors does not fit its content")
    for key in keys:
        storage = storages[key]
        if machine.number("<q") != storage.length:
            machine.damaged("a tensor of it has another length than it says")
        length = storage.length * storage.dtype.itemsize
        storage.span = Span(path, machine.skip(length), length)
    return content


def _next_pickle(machine: Machine) -> Any:
    machine.stack.clear()
    machine.memo.clear()
    return machine.run()

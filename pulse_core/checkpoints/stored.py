"""Tensors that are still in their file: shape and type are known, the numbers are read on request.

A generator takes its weights one by one, so that loading needs little more memory than the weights
themselves, and what a checkpoint holds besides (a discriminator, an optimiser) is never read.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError

MAX_DIMS = 8
_MAX_SIZE = 1 << 62  # of any one size or stride, also of a tensor without elements; torch has 64 bits for it


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that can be read.

    shape, dtype: of what `read` returns.
    read: reads it; a new tensor each time, which the caller may keep and change.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def numel(self) -> int:
        """Its number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size in bytes once it is read."""
        return self.numel * self.dtype.itemsize

    def then(self, change: Callable[[Tensor], Tensor]) -> StoredTensor:
        """The tensor `change(self)`, computed when it is read.

        Raises:
            CheckpointError: `change` needs another shape.
        """
        try:
            after = change(torch.empty(self.shape, dtype=self.dtype, device="meta"))
        except (RuntimeError, IndexError) as error:
            raise CheckpointError(
                f"A tensor of the file has the shape {list(self.shape)}, which its place in the network never has.",
                "a generator with the layers of its family.",
                "download the file again, or check which program wrote it.",
            ) from error
        return StoredTensor(tuple(after.shape), after.dtype, lambda: change(self.read()))


@dataclass(frozen=True)
class Unreadable:
    """Takes the place of a tensor that this pack cannot use. reason: what it is."""

    reason: str


Stored = Mapping[str, StoredTensor]


def in_memory(tensor: Tensor) -> StoredTensor:
    """A tensor in memory, under the same interface."""
    return StoredTensor(tuple(tensor.shape), tensor.dtype, tensor.detach().clone)


def stored(tensors: Mapping[str, Tensor | StoredTensor]) -> dict[str, StoredTensor]:
    """Tensors of both kinds, all under one interface."""
    return {name: in_memory(t) if isinstance(t, Tensor) else t for name, t in tensors.items()}


@dataclass(frozen=True)
class Span:
    """Bytes of a file, not read yet."""

    path: Path
    start: int
    length: int

    def read(self) -> bytes:
        """Raises CheckpointError if the file has shrunk since."""
        buffer = bytearray(self.length)
        self.read_into(memoryview(buffer))
        return bytes(buffer)

    def read_into(self, buffer: memoryview) -> None:
        """Fills a buffer of the span's length."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            if file.readinto(buffer) != self.length:
                raise CheckpointError(
                    f"{self.path} became shorter while it was read.", "a file that stays as it is.", "load it again."
                )

    def part(self, start: int, length: int) -> Span:
        """A span inside this one."""
        return Span(self.path, self.start + start, length)


def tensor_in(
    span: Span, dtype: torch.dtype, shape: tuple[int, ...], strides: tuple[int, ...] | None = None, offset: int = 0
) -> StoredTensor | None:
    """The tensor in a span of numbers; None if it does not fit.

    Args:
        strides, offset: in elements, as torch has them; None for a dense tensor.
    """
    if len(shape) > MAX_DIMS:
        return None
    dense = row_major(shape)
    strides = dense if strides is None else strides
    if len(shape) != len(strides) or any(not 0 <= n < _MAX_SIZE for n in (*shape, *dense, *strides, offset)):
        return None
    numel, extent = math.prod(shape), sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
    room = span.length // dtype.itemsize
    if numel and (offset + extent > room or numel > room):  # more elements than numbers: an expanded tensor
        return None
    used = span.part(offset * dtype.itemsize, (extent if numel else 0) * dtype.itemsize)

    def read() -> Tensor:
        raw = new_bytes(used.length)
        if used.length:
            used.read_into(raw.numpy().data)
        return raw.view(dtype).as_strided(shape, strides) if numel else torch.empty(shape, dtype=dtype)

    return StoredTensor(shape, dtype, read)


def new_bytes(length: int) -> Tensor:
    """[length] uint8 in memory that is returned to the system as soon as it is freed.

    Weights are copied into another layout right after they are read; from the heap, what is freed in
    between would stay with the process as holes.
    """
    return torch.frombuffer(mmap.mmap(-1, length), dtype=torch.uint8) if length else torch.empty(0, dtype=torch.uint8)


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a dense tensor, last dimension fastest."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))

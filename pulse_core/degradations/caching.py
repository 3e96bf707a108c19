"""Caches of matrices that have a size in bytes, not a number of entries: one matrix may be as large as a thousand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")
MATRICES = 128 << 20  # bytes, of all operators together


class ByteCache(Generic[T]):
    """Keeps what was used last, up to so many bytes; what is larger than that is not kept.

    Args:
        limit: in bytes.
        size_of: the bytes of an entry.
    """

    def __init__(self, limit: int, size_of: Callable[[T], int]):
        self._limit, self._size_of, self._lock = limit, size_of, Lock()
        self._entries: OrderedDict[Hashable, T] = OrderedDict()
        self.bytes = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The entry, made if it is not there."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        entry = make()
        size = self._size_of(entry)
        with self._lock:
            if size <= self._limit and key not in self._entries:
                self._entries[key] = entry
                self.bytes += size
            while self.bytes > self._limit:
                self.bytes -= self._size_of(self._entries.popitem(last=False)[1])
        return entry

    def values(self) -> list[T]:
        """All entries."""
        with self._lock:
            return list(self._entries.values())


_matrices: ByteCache[np.ndarray] = ByteCache(MATRICES, lambda matrix: matrix.nbytes)


def cached_matrix(function: Callable[P, np.ndarray]) -> Callable[P, np.ndarray]:
    """Caches a function that makes a matrix, which nobody may change; all such functions share MATRICES bytes."""

    @wraps(function)
    def cached(*args: P.args, **kwargs: P.kwargs) -> np.ndarray:
        key: Any = (function, args, tuple(sorted(kwargs.items())))
        return _matrices.get(key, lambda: function(*args, **kwargs))

    return cached

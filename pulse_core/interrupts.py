"""Lets a program stop long work: every long loop of the package calls `check_interrupt`.

As in `with interruptible(raise_if_the_user_pressed_stop): find_faces(pictures)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
_check: ContextVar[Callable[[], None] | None] = ContextVar("pulse_interrupt", default=None)


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """Inside the block, the package calls `check` often; what it raises ends the work and reaches the caller."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def check_interrupt() -> None:
    """Calls the check of the enclosing `interruptible`, if there is one."""
    check = _check.get()
    if check is not None:
        check()


def each(parts: Iterable[T]) -> Iterator[T]:
    """Yields the parts, and checks before each."""
    for part in parts:
        check_interrupt()
        yield part

"""Keeps the calling program's torch defaults out of this package's results.

A program may have set another default dtype or device, or call from inside no_grad, inference_mode or autocast. Public
functions run under `own_defaults`, and what is differentiable under `own_numbers`.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

_AUTOCAST = ("cpu", "cuda", "xpu", "mps")  # the kinds of devices that have one


class _DefaultDtype:
    """float32 as the default dtype while anyone needs it: torch has one for all threads."""

    def __init__(self) -> None:
        self._lock, self._users, self._foreign = threading.Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._foreign = torch.get_default_dtype()
                if self._foreign != torch.float32:
                    torch.set_default_dtype(torch.float32)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._foreign != torch.float32:
                torch.set_default_dtype(self._foreign)


_float32 = _DefaultDtype()


@contextmanager
def numbers() -> Iterator[None]:
    """float32 and the CPU as defaults, without autocast; the caller's gradient mode stays."""
    with ExitStack() as stack:
        stack.enter_context(_float32)
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in _autocast_kinds():
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def defaults() -> Iterator[None]:
    """As `numbers`, and with gradients: outside of no_grad and inference_mode.

    Tensors that were made in inference mode stay inference tensors: pass inputs through `usable`.
    """
    with numbers(), torch.inference_mode(False), torch.enable_grad():
        yield


def usable(value: Any) -> Any:
    """A copy where the value is, or has, inference tensors, through which no gradient can pass."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, (list, tuple)) and any(isinstance(part, Tensor) for part in value):
        return type(value)(map(usable, value)) if type(value) in (list, tuple) else value
    if hasattr(value, "map_tensors"):  # latents and fits
        return value.map_tensors(usable)
    return value


def own_defaults(function: Callable[P, R]) -> Callable[P, R]:
    """Runs a function, or each step of a generator, under `defaults`, with usable arguments."""
    if inspect.isgeneratorfunction(function):
        return _steps(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with defaults():
            return function(*map(usable, args), **{name: usable(value) for name, value in kwargs.items()})

    return call


def _steps(function: Callable[..., Any]) -> Callable[..., Any]:
    """Between its steps, the caller has its own defaults again."""

    @wraps(function)
    def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with defaults():
            steps = function(*map(usable, args), **{name: usable(value) for name, value in kwargs.items()})
        done = object()
        while True:
            with defaults():
                item = next(steps, done)
            if item is done:
                return
            yield item

    return iterate


def own_numbers(function: Callable[P, R]) -> Callable[P, R]:
    """Runs a function under `numbers`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with numbers():
            return function(*args, **kwargs)

    return call


def _autocast_kinds() -> list[str]:
    try:
        return [kind for kind in _AUTOCAST if torch.is_autocast_enabled(kind)]
    except TypeError:  # torch before 2.4
        states = {"cuda": torch.is_autocast_enabled(), "cpu": torch.is_autocast_cpu_enabled()}
        return [kind for kind, on in states.items() if on]

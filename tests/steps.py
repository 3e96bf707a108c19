"""Budgets of work that do not depend on the machine: steps, not seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def steps(work: Callable[[], Any]) -> int:
    """The lines of Python that `work` executes, and its calls of functions written in C; its errors go through."""
    count = 0

    def trace(*_: Any) -> Callable[..., Any]:
        nonlocal count
        count += 1
        return trace

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "c_call"

    before, before_profile = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.settrace(before)
        sys.setprofile(before_profile)
    return count

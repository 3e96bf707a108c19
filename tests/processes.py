"""Processes and those that they start, from /proc."""

from __future__ import annotations

import time
from pathlib import Path


def _status(pid: int) -> tuple[str, int] | None:
    """(state, parent) of a process; None if it is gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ProcessLookupError):
        return None
    return state, int(parent)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    entries = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    parents = {each: status[1] for each in entries if (status := _status(each))}
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        children = [child for child, of in parents.items() if of == parent]
        found += children
        waiting += children
    return found


def ended(pids: list[int], seconds: float) -> list[int]:
    """Waits for processes to end; returns those that have not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = [pid for pid in pids if (status := _status(pid)) and status[0] not in "ZX"]
        if not alive:
            return []
        time.sleep(0.05)
    return alive

"""Measurements, row by row, saved at once so that an interrupted run keeps them."""

from __future__ import annotations

import datetime
import gc
import json
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pulse_core.devices.device import empty_cache
from pulse_core.devices.optimizations import OPTIMIZATIONS, is_enabled
from pulse_core.files import whole_file

Row = dict[str, Any]


def _failures() -> tuple[type[Exception], ...]:
    """Errors that a measurement may raise; running out of GPU memory is a RuntimeError."""
    known = (RuntimeError, MemoryError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, OSError)
    try:
        from triton.errors import TritonError
    except ImportError:  # no Triton, or an early one
        return (*known, AssertionError, ImportError)
    return (*known, AssertionError, ImportError, TritonError)


class Notebook:
    """Rows of measurements, in a JSON file that is rewritten after each.

    Args:
        device: the device to measure on.
        path: the file; None writes none.
        minutes: the time after which no measurement is started.
    """

    def __init__(self, device: torch.device, path: Path | None, minutes: float):
        self.device, self.metadata, self._path = device, machine(device), path
        self._failures, self._started, self._until = _failures(), time.monotonic(), 60 * minutes
        self.rows: list[Row] = []

    def measure(self, part: str, where: Row, work: Callable[[], Row]) -> Row:
        """Adds a row: `where` with the result of `work`, or with the reason of its failure. Then frees memory.

        Returns: the row; it has "failed" if the measurement failed.
        """
        row: Row = {"part": part, **where}
        if time.monotonic() - self._started > self._until:
            row["failed"] = "out of time"
        else:
            try:
                row |= work()
            except self._failures as error:
                row["failed"] = f"{type(error).__name__}: {str(error).strip()[:200]}"
        # outside the except block: the error keeps frames alive, and those keep tensors
        gc.collect()
        empty_cache()
        switched_off = [each for each in OPTIMIZATIONS if is_enabled(each) and not is_enabled(each, self.device)]
        row |= {"not used": switched_off} if switched_off else {}
        self.rows.append(row)
        self.save()
        print(f"{time.monotonic() - self._started:6.0f} s  {_line(row)}", flush=True)
        return row

    def save(self) -> None:
        """Writes the file."""
        if self._path is None:
            return
        with whole_file(self._path) as file:
            file.write_text(
                json.dumps({"machine": self.metadata, "rows": self.rows}, indent=1) + "\n", encoding="utf-8"
            )


def _line(row: Row) -> str:
    """A row as text."""
    return "  ".join(f"{name} {_short(value)}" for name, value in row.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"({len(value)})" if isinstance(value, list | dict) else str(value)


def machine(device: torch.device) -> Row:
    """The machine: device, versions, date."""
    metadata: Row = {
        "device": device.type,
        "name": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        metadata |= {"name": properties.name, "memory_mb": properties.total_memory / 2**20, "cuda": torch.version.cuda}
        tool = shutil.which("nvidia-smi")
        if tool is not None:
            ask = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
            output = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split()
            metadata["driver"] = output[0] if output else None
    return metadata

"""Peak memory: of the process on a CPU (Linux), of torch's allocations on a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import torch


def reset_peak(device: torch.device) -> None:
    """Resets the peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform.startswith("linux"):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(device: torch.device) -> float | None:
    """Peak memory since `reset_peak` in MB; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return None
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

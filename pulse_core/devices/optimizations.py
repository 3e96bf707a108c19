"""Optimizations: what makes a search fast, changes its results by no more than rounding, and can be switched off.

The environment variable PULSE_WITHOUT lists the optimizations to switch off, separated by commas. It helps to compare
timings and to find faults, and is read once, at import. Everything else is on:

    layers          hand-written gradients of generator layers (generators/frozen.py); off: autograd's own
    channels_last   memory format of weights and features, except on MPS and for float32 on CUDA; off: contiguous
    memory          freed memory is kept for the next step, on the command line (cli/memory.py); off: returned
    graphs          a step is captured as a CUDA graph and replayed (latent_search/captured.py); off: launched each time
    kernels         fused elementwise kernels on CUDA (generators/kernels/); off: one kernel per operation
    half            low-resolution evaluations in 16 bits on CUDA (latent_search/precision.py); off: float32

Optimizations that change results by more than rounding are settings of the search: full_every, init,
gradient_checkpointing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

ON_CPU = ("layers", "channels_last", "memory")
OPTIMIZATIONS = (*ON_CPU, "graphs", "kernels", "half")

# From macOS 15 on, MPS ignores the strides of a convolution's weight, and its batch norm those of a gradient.
_UNSUITED = {"mps": ("channels_last",)}

_excluded = frozenset(filter(None, os.environ.get("PULSE_WITHOUT", "").split(",")))
_disabled: dict[str, set[str]] = {}  # by device: optimizations that gave wrong results there


def is_enabled(optimization: str, device: torch.device | None = None) -> bool:
    """Whether an optimization is on: not excluded by the user, and neither unsuited to the device nor wrong on it."""
    if optimization in _excluded:
        return False
    if device is None:
        return True
    return optimization not in _UNSUITED.get(device.type, ()) and optimization not in _disabled.get(str(device), ())


def disable(optimization: str, device: torch.device) -> None:
    """Switches an optimization off on one device, for the rest of the process."""
    _disabled.setdefault(str(device), set()).add(optimization)


def memory_format(like: torch.Tensor) -> torch.memory_format:
    """The memory format that makes convolutions fastest for features and weights such as `like`.

    channels_last on a CPU (2 to 4 times as fast) and for 16-bit types; contiguous for float32 on CUDA, where cuDNN's
    channels_last kernels take up to 1.9 times as long (StyleGAN2, H200).
    """
    if like.device.type == "cuda" and like.dtype.itemsize > 2:
        return torch.contiguous_format
    return torch.channels_last if is_enabled("channels_last", like.device) else torch.contiguous_format


@contextmanager
def disabled(*optimizations: str) -> Iterator[None]:
    """Context manager: switches optimizations off on all devices. Existing tensors keep their memory format."""
    global _excluded
    before, _excluded = _excluded, _excluded | set(optimizations)
    try:
        yield
    finally:
        _excluded = before

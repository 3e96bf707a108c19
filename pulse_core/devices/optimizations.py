"""What makes the search fast without changing its results beyond rounding, and how to switch it off.

The environment variable PULSE_WITHOUT names what to leave out, joined by commas, for comparing and for finding faults.
It is read once. Everything is on otherwise:

    layers          gradients of generator layers written out (generators/frozen.py); else autograd's own
    channels_last   the memory format of weights and features, but on MPS, and in float32 on CUDA; else contiguous
    memory          freed memory kept for the next step, on the command line (memory.py); else given back
    graphs          a step captured once and replayed, on CUDA (latent_search/captured.py); else launched anew
    kernels         fused elementwise kernels, on CUDA (kernels/); else one kernel an operation
    half            low-resolution evaluations in 16-bit features, on CUDA (latent_search/precision.py); else float32

Optimizations that change more than rounding are settings of the search: full_every, init, gradient_checkpointing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

ON_CPU = ("layers", "channels_last", "memory")
OPTIMIZATIONS = (*ON_CPU, "graphs", "kernels", "half")

# MPS ignores the strides of a convolution's weight from macOS 15 on, and its batch_norm those of a gradient.
_UNSUITED = {"mps": ("channels_last",)}

_excluded = frozenset(filter(None, os.environ.get("PULSE_WITHOUT", "").split(",")))
_disabled: dict[str, set[str]] = {}  # by device: what computed something wrong there


def is_enabled(optimization: str, device: torch.device | None = None) -> bool:
    """Whether one of OPTIMIZATIONS is on, and neither unsuited to this device nor found to be wrong on it."""
    if optimization in _excluded:
        return False
    if device is None:
        return True
    return optimization not in _UNSUITED.get(device.type, ()) and optimization not in _disabled.get(str(device), ())


def disable(optimization: str, device: torch.device) -> None:
    """Leaves it out on this device from now on."""
    _disabled.setdefault(str(device), set()).add(optimization)


def memory_format(like: torch.Tensor) -> torch.memory_format:
    """Of features and weights such as this one: where convolutions are fastest.

    channels_last on a CPU (2 to 4 times) and in 16 bits; contiguous in float32 on CUDA, where cuDNN's kernels for
    channels_last take up to 1.9 times as long (StyleGAN2, H200).
    """
    if like.device.type == "cuda" and like.dtype.itemsize > 2:
        return torch.contiguous_format
    return torch.channels_last if is_enabled("channels_last", like.device) else torch.contiguous_format


@contextmanager
def disabled(*optimizations: str) -> Iterator[None]:
    """Leaves them out while entered. What was built before keeps its memory format."""
    global _excluded
    before, _excluded = _excluded, _excluded | set(optimizations)
    try:
        yield
    finally:
        _excluded = before

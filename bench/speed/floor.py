"""How fast a step could be: the peaks of the machine, and the work of the layers (a roofline, Williams et al. 2009)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_SIDE = 3072  # of the matrices that show the peak
_STREAM = 2**26  # numbers that are copied


def synchronise(device: torch.device) -> None:
    """Waits until a device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Of one call, to its end."""
    synchronise(device)
    begun = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - begun


def peaks(device: torch.device, rounds: int = 3) -> tuple[float, float]:
    """(floating point operations, bytes) a second: the best of several matrix products and copies in float32."""
    a, b = (torch.randn(_SIDE, _SIDE, device=device) for _ in range(2))
    source = torch.randn(_STREAM, device=device)
    target = torch.empty_like(source)
    product = min(seconds(lambda: torch.mm(a, b), device) for _ in range(rounds + 1))
    copy = min(seconds(lambda: target.copy_(source), device) for _ in range(rounds + 1))
    return 2 * _SIDE**3 / product, 2 * 4 * _STREAM / copy


class CountWork(TorchDispatchMode):
    """Counts what convolutions and matrix products ask for while it is entered, forward and backward.

    flops; and moved: bytes that each reads and writes at least once. What lies between two of them could all be fused
    into them, so it is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.work: list[tuple[float, float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            moved = sum(_bytes(each) for each in tree_leaves((args, out)) if isinstance(each, Tensor))
            self.work.append((float(count(*args, **(kwargs or {}), out_val=out)), moved))
        return out

    @property
    def flops(self) -> float:
        """Of all."""
        return sum(flops for flops, _ in self.work)

    def floor(self, flops: float, stream: float) -> float:
        """Seconds at these peaks: each operation is bound by its arithmetic or by its memory."""
        return sum(max(own / flops, moved / stream) for own, moved in self.work)


def _bytes(tensor: Tensor) -> int:
    """What of it is stored: a tensor expanded from one number is one."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())

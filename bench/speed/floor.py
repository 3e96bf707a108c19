"""Lower bounds for the time of a step: the machine's peaks and the layers' work (roofline, Williams et al. 2009)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_SIDE = 3072  # of the matrices that measure peak arithmetic
_STREAM = 2**26  # elements copied to measure peak bandwidth
_EMPTY = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")  # allocations only


def synchronise(device: torch.device) -> None:
    """Waits until all work on a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, including its work on the device."""
    synchronise(device)
    begun = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - begun


def product_peak(device: torch.device, dtype: torch.dtype = torch.float32, side: int = _SIDE, rounds: int = 3) -> float:
    """Floating-point operations per second, the best of several matrix products."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(seconds(lambda: torch.mm(a, b), device) for _ in range(rounds + 1))


def copy_peak(device: torch.device, numbers: int = _STREAM, rounds: int = 3) -> float:
    """Bytes read and written per second, the best of several copies."""
    source = torch.randn(numbers, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * numbers / min(seconds(lambda: target.copy_(source), device) for _ in range(rounds + 1))


def peaks(device: torch.device) -> tuple[float, float]:
    """(floating-point operations, bytes) per second, in float32."""
    return product_peak(device), copy_peak(device)


class Op(NamedTuple):
    """One launch: its floating-point operations if known, the bytes read and written, and the bytes per element."""

    name: str
    flops: float
    moved: float
    width: int
    is_product: bool


class CountWork(TorchDispatchMode):
    """Context manager that counts launched operations, forward and backward, without views and allocations.

    flops are those of convolutions and matrix products, the products.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[Op] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        made = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        if not _is_launched(func, given, made):
            return out
        if func is torch.ops.aten.convolution_backward.default and not any(args[-1][1:]):
            given = [args[0], args[2]]  # only the shape of the input matters
        count = flop_registry.get(func._overloadpacket)
        flops = 0.0 if count is None else float(count(*args, **kwargs, out_val=out))
        moved = float(sum(_bytes(each) for each in (*given, *made)))
        self.ops.append(Op(str(func), flops, moved, made[0].element_size() if made else 4, count is not None))
        return out

    @property
    def flops(self) -> float:
        """Floating-point operations of all launches."""
        return sum(op.flops for op in self.ops)

    @property
    def moved(self) -> float:
        """Bytes read and written by all launches."""
        return sum(op.moved for op in self.ops)

    @property
    def products(self) -> list[Op]:
        """Convolutions and matrix products; everything between them could be fused into them."""
        return [op for op in self.ops if op.is_product]

    def floor(self, flops: float, stream: float, half_flops: float | None = None) -> float:
        """Seconds of the products at these peaks, each bound by arithmetic or by memory.

        half_flops: the peak of those in 16 bits, where it is another.
        """
        peak = {2: half_flops or flops}
        return sum(max(op.flops / peak.get(op.width, flops), op.moved / stream) for op in self.products)


def _is_launched(func: Any, given: list[Tensor], made: list[Tensor]) -> bool:
    if func._schema.is_mutable:
        return True
    known = {each.untyped_storage().data_ptr() for each in given}
    fresh = any(each.numel() and each.untyped_storage().data_ptr() not in known for each in made)
    return fresh and func._schema.name.removeprefix("aten::") not in _EMPTY


def _bytes(tensor: Tensor) -> int:
    """The stored elements of a tensor: one for a tensor expanded from a scalar."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())

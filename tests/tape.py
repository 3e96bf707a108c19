"""A CUDA graph on the CPU: records the aten operations of a call, and replays them on the same memory without Python.

Like a graph, it repeats the same operations on the same addresses, with the Python values of the recording. It refuses
what a capture refuses: reading values from the device, data-dependent shapes, and copies from CPU memory. Before a
replay all outputs are filled with NaN, so that no result of the recording is reused.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "aten.equal.", "unique", "masked_select")
UPLOADS = ("lift_fresh", "from_numpy")


def tensors_in(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Tape(TorchDispatchMode):
    """A captured.Recorder."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def record(self, function):
        with self:
            return function()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = str(func)
        if any(each in name for each in READS):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        if any(each in name for each in UPLOADS):
            raise RuntimeError(f"cannot copy between CPU and CUDA tensors during capture: {name}")
        out = func(*args, **kwargs)
        given = {each.untyped_storage().data_ptr() for each in tensors_in((args, kwargs))}
        fresh = [each for each in tensors_in(out) if each.untyped_storage().data_ptr() not in given]
        writes = any(each.alias_info is not None and each.alias_info.is_write for each in func._schema.arguments)
        if fresh or writes:  # else a view
            self.operations.append((func, args, kwargs, tensors_in(out) if fresh else []))
        return out

    @torch.no_grad()
    def replay(self):
        for _, _, _, out in self.operations:
            for each in out:
                if each.is_floating_point():
                    each.fill_(torch.nan)
        for func, args, kwargs, out in self.operations:
            new = func(*args, **kwargs)
            for kept, made in zip(out, tensors_in(new), strict=bool(out)):
                if kept.untyped_storage().data_ptr() != made.untyped_storage().data_ptr():
                    kept.copy_(made)

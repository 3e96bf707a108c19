"""A fake accelerator: tensors that report its device but compute on the CPU, and a record of synchronisations.

On a real accelerator the CPU queues work and continues. Reading a value back, or copying from pageable memory, makes it
wait until the queue is empty. Such operations are recorded here.
"""

from __future__ import annotations

import traceback

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "fake"


class Backend(_DummyBackendModule):
    """What torch needs of a device's module, also in unrelated tests."""

    def get_amp_supported_dtype(self):
        return [torch.float16]

    def get_rng_state(self, device=0):
        return torch.zeros(0, dtype=torch.uint8)

    def set_rng_state(self, state, device=0):
        pass


_setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
DEVICE = torch.device(NAME, 0)
READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "aten.equal.", "unique", "masked_select", "isin")


class OnDevice(torch.Tensor):
    """A tensor of the device; `numbers` is the CPU tensor with its values."""

    @staticmethod
    def __new__(cls, numbers):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=DEVICE,
            requires_grad=False,
        )

    def __init__(self, numbers):
        self.numbers = numbers

    def __repr__(self):
        return f"OnDevice({list(self.shape)})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return dispatched(func, args, kwargs or {})


class Waits(TorchDispatchMode):
    """Context manager: makes `DEVICE` usable in factory functions, and records synchronisations in `found`."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        reason = waits(func, args, kwargs or {})
        if reason:
            ours = [frame for frame in traceback.extract_stack() if "pulse_core" in frame.filename]
            place = f"{ours[-1].filename.rsplit('pulse_core/', 1)[-1]}:{ours[-1].lineno}" if ours else "?"
            self.found.append(f"{reason} at {place}")
        return dispatched(func, args, kwargs or {})


def on_device(tree):
    return any(isinstance(leaf, OnDevice) for leaf in pytree.tree_leaves(tree))


def waits(func, args, kwargs):
    """Why this operation makes the CPU wait; None if it does not."""
    name = str(func)
    if on_device(args) and any(each in name for each in READS):
        return name
    if "_to_copy" in name or "aten.to." in name:
        there, here = isinstance(args[0], OnDevice), kwargs.get("device")
        if here is not None and torch.device(here).type != ("fake" if there else "cpu"):
            return "a copy to the CPU" if there else "a copy from the CPU"
    if "copy_" in name and "_to_copy" not in name and isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice):
        return "a copy between the CPU and the device"
    return None


def dispatched(func, args, kwargs):
    device = kwargs.get("device")
    if device is not None:
        to_device = torch.device(device).type == NAME
        kwargs = {**kwargs, "device": torch.device("cpu")}
    else:
        to_device = on_device((args, kwargs))
    known = {}

    def unwrapped(leaf):
        if isinstance(leaf, OnDevice):
            known[id(leaf.numbers)] = leaf
            return leaf.numbers
        return leaf

    args, kwargs = pytree.tree_map(unwrapped, (args, kwargs))
    out = func(*args, **kwargs)
    if not to_device:
        return out

    def wrapped(leaf):
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return known[id(leaf)] if id(leaf) in known else OnDevice(leaf)

    return pytree.tree_map(wrapped, out)


# torch's own code makes tensors as well, in backward passes
@torch.library.impl("aten::empty_strided", "privateuseone")
def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return OnDevice(torch.empty_strided(size, stride, dtype=dtype))


@torch.library.impl("aten::empty.memory_format", "privateuseone")
def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return OnDevice(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


@torch.library.impl("aten::_copy_from", "privateuseone")
def _copy_from(source, target, non_blocking=False):
    target.numbers.copy_(getattr(source, "numbers", source))
    return target


def moved(module):
    """The module, with its parameters and buffers on the device."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, torch.nn.Parameter(parameter.detach().to(DEVICE), requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, buffer.to(DEVICE))
    return module

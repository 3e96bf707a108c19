"""What computes: which devices there are, what the user calls them, and how each speaks of its memory.

Makers differ: NVIDIA and AMD are torch.cuda, Intel torch.xpu, Apple torch.mps, Huawei torch.npu and Cambricon torch.mlu
(both after their own package was imported). DirectML's devices are taken where a tensor lies on one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import SettingError

ACCELERATORS = ("cuda", "xpu", "npu", "mlu", "mps")  # the first that is there is the best one

_OUT_OF_MEMORY = (  # in lower case
    "out of memory",  # CUDA, ROCm, XPU, MPS, NPU, MLU
    "can't allocate memory",  # the CPU
    "not enough memory",  # the CPU on Windows, DirectML
    "not enough gpu video memory",  # DirectML
    "_status_alloc_failed",  # cuBLAS, cuDNN, cuSOLVER, hipBLAS
    "allocation_failed",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
    "miopenstatusallocfailed",
    "out_of_device_memory",  # XPU: UR_RESULT_ERROR_..., and PI_ERROR_... before; Vulkan's drivers
    "out_of_host_memory",
    "error_out_of_resources",
    "invalid buffer size",  # MPS: more than one buffer may hold
    "callbackerroroutofmemory",  # MPS: kIOGPUCommandBuffer...
)


_EXACT: dict[str, Any] = {"matmul": "highest", "cudnn": False, "mkldnn": False}
_KINDS = ("matmul", "conv", "rnn")


def _module(kind: str) -> Any:
    """torch.cuda and its like; None where this torch has none."""
    return getattr(torch, kind, None)


def count(kind: str) -> int:
    """How many devices of one of ACCELERATORS there are."""
    module = torch.backends.mps if kind == "mps" else _module(kind)
    if module is None or not module.is_available():
        return 0
    return 1 if kind == "mps" else int(_module(kind).device_count())


def available() -> tuple[str, ...]:
    """The kinds of ACCELERATORS that are there, the best one first."""
    return tuple(kind for kind in ACCELERATORS if count(kind))


def best_device() -> torch.device:
    """The first of ACCELERATORS that is there, else the CPU."""
    return torch.device(next(iter(available()), "cpu"))


def named_device(name: str | torch.device) -> torch.device:
    """A device of this machine, by the name that torch gives it: cpu, cuda, cuda:1, mps, ...

    Raises:
        SettingError: no such device, or none here.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise _no_device(f"The device {str(name)!r} is none that torch knows.") from None
    there = 1 if device.type == "cpu" else count(device.type) if device.type in ACCELERATORS else 0
    if not there and device.type == _other_kind():
        return device
    if not there:
        raise _no_device(f"The device is {str(name)!r}, and there is none of that kind here.")
    if device.index is not None and device.index >= there:
        raise _no_device(
            f"The device is {str(name)!r}, and there {'is' if there == 1 else 'are'} {there} of that kind."
        )
    return device


def _other_kind() -> str | None:
    """Of an accelerator that a package of its maker's adds to torch."""
    accelerator = getattr(torch, "accelerator", None)  # from torch 2.6 on
    current = accelerator.current_accelerator() if accelerator is not None and accelerator.is_available() else None
    return None if current is None else str(current.type)


def _no_device(found: str) -> SettingError:
    names = [f"{kind}:{index}" for kind in available() for index in range(count(kind))]
    names = ["mps" if each == "mps:0" else each for each in names]
    without = "" if names else " (torch sees no other device here)"
    return SettingError(
        found,
        f"{', '.join(['cpu', *names])}{without}.",
        "choose one of these, or leave the device out. A card that is not among them needs its driver, and a torch "
        "that was made for it.",
    )


def empty_cache() -> None:
    """Gives back what torch keeps of the devices' memory for later."""
    for kind in available():
        _module(kind).empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says so, in the words of any device or of its libraries."""
    of_torch = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)  # its name before torch 2.5
    if isinstance(error, (MemoryError, of_torch)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)


def free_memory(device: torch.device) -> int | None:
    """Bytes that could be taken now, with what torch keeps for later; None where that is not known."""
    module = _module(device.type)
    if device.type == "mps":
        return max(0, int(module.recommended_max_memory()) - int(module.current_allocated_memory()))
    if device.type not in ACCELERATORS or not hasattr(module, "mem_get_info"):  # xpu has it from torch 2.6 on
        return None
    free, _ = module.mem_get_info(device)
    return int(free + module.memory_reserved(device) - module.memory_allocated(device))


@contextmanager
def exact_float32() -> Iterator[None]:
    """While entered, convolutions and matrix products of float32 are computed in float32, and not in TF32 or bfloat16.

    A host may have allowed those for speed; a search follows gradients that their 10 bits lose. Restored after.
    """
    legacy = {name: value for name, value in _legacy().items() if value != _EXACT[name]}
    before = [(part, part.fp32_precision) for part in _parts()]
    try:
        for name in legacy:
            _set_legacy(name, _EXACT[name])
        for part, _ in before:
            if part.fp32_precision not in ("ieee", "none"):
                part.fp32_precision = "ieee"
        yield
    finally:
        for name, value in legacy.items():
            _set_legacy(name, value)
        for part, precision in before:
            if part.fp32_precision != precision:
                part.fp32_precision = precision


def _parts() -> list[Any]:
    """What has a precision of its own in torch from 2.9 on."""
    backends = torch.backends
    owners = (
        (backends.cuda, "matmul"),
        *((each, name) for each in (backends.cudnn, backends.mkldnn) for name in _KINDS),
    )
    parts = [getattr(owner, name, None) for owner, name in owners]
    return [part for part in parts if part is not None and hasattr(part, "fp32_precision")]


def _legacy() -> dict[str, Any]:
    """The settings of torch before 2.9, which later ones have besides; one that was set the new way cannot be read."""
    read = {
        "matmul": torch.get_float32_matmul_precision,
        "cudnn": lambda: torch.backends.cudnn.allow_tf32,
        "mkldnn": lambda: getattr(torch.backends.mkldnn, "allow_tf32", None),  # XPU, from torch 2.6 on
    }
    values: dict[str, Any] = {}
    for name, value in read.items():
        try:
            values[name] = value()
        except RuntimeError:  # "a mix of the legacy and new APIs": then the new ones alone count
            continue
    return {name: value for name, value in values.items() if value is not None}


def _set_legacy(name: str, value: Any) -> None:
    if name == "matmul":
        torch.set_float32_matmul_precision(value)
    else:
        getattr(torch.backends, name).allow_tf32 = value

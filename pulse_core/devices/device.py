"""Devices: which are available, how the user names them, and their memory.

NVIDIA and AMD are torch.cuda, Intel torch.xpu, Apple torch.mps, Huawei torch.npu and Cambricon torch.mlu (the last two
once their own packages are imported). DirectML devices work where a tensor is already on one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import SettingError

ACCELERATORS = ("cuda", "xpu", "npu", "mlu", "mps")  # in order of preference

_OUT_OF_MEMORY = (  # parts of error messages, in lower case
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
    """torch.cuda, torch.xpu, ...; None if this build of torch does not have it."""
    return getattr(torch, kind, None)


def count(kind: str) -> int:
    """The number of devices of a kind in ACCELERATORS."""
    module = torch.backends.mps if kind == "mps" else _module(kind)
    if module is None or not module.is_available():
        return 0
    return 1 if kind == "mps" else int(_module(kind).device_count())


def available() -> tuple[str, ...]:
    """The kinds in ACCELERATORS that this machine has, in order of preference."""
    return tuple(kind for kind in ACCELERATORS if count(kind))


def best_device() -> torch.device:
    """The preferred accelerator, or the CPU if there is none."""
    return torch.device(next(iter(available()), "cpu"))


def named_device(name: str | torch.device) -> torch.device:
    """The device with a torch name such as cpu, cuda, cuda:1 or mps.

    Raises:
        SettingError: unknown to torch, or not on this machine.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise _device_error(f"torch does not know the device {str(name)!r}.") from None
    found = 1 if device.type == "cpu" else count(device.type) if device.type in ACCELERATORS else 0
    if not found and device.type == _extension_kind():
        return device
    if not found:
        raise _device_error(f"The device is {str(name)!r}, but this machine has no device of that kind.")
    if device.index is not None and device.index >= found:
        raise _device_error(f"The device is {str(name)!r}, but this machine has only {found} of that kind.")
    return device


def _extension_kind() -> str | None:
    """The kind of an accelerator that another package adds to torch."""
    accelerator = getattr(torch, "accelerator", None)  # from torch 2.6 on
    current = accelerator.current_accelerator() if accelerator is not None and accelerator.is_available() else None
    return None if current is None else str(current.type)


def _device_error(found: str) -> SettingError:
    names = [f"{kind}:{index}" for kind in available() for index in range(count(kind))]
    names = ["mps" if each == "mps:0" else each for each in names]
    note = "" if names else " (torch sees no other device)"
    return SettingError(
        found,
        f"{', '.join(['cpu', *names])}{note}.",
        "choose one of these, or leave the device out. If your card is missing, install its driver and a build "
        "of torch for it.",
    )


def empty_cache() -> None:
    """Returns the memory that torch caches to the devices."""
    for kind in available():
        _module(kind).empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means "out of memory", on any device and from any of its libraries."""
    of_torch = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)  # before 2.5
    if isinstance(error, (MemoryError, of_torch)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)


def free_memory(device: torch.device) -> int | None:
    """Bytes that can be allocated now, torch's own cache included; None if unknown."""
    module = _module(device.type)
    if device.type == "mps":
        return max(0, int(module.recommended_max_memory()) - int(module.current_allocated_memory()))
    if device.type not in ACCELERATORS or not hasattr(module, "mem_get_info"):  # xpu has it from torch 2.6 on
        return None
    free, _ = module.mem_get_info(device)
    return int(free + module.memory_reserved(device) - module.memory_allocated(device))


@contextmanager
def exact_float32() -> Iterator[None]:
    """Context manager: float32 convolutions and matrix products use float32, not TF32 or bfloat16.

    A host may allow those for speed, but a search follows gradients that are lost in a mantissa of 10 bits. The host's
    settings are restored on exit.
    """
    legacy = {name: value for name, value in _legacy_settings().items() if value != _EXACT[name]}
    before = [(each, each.fp32_precision) for each in _precision_settings()]
    try:
        for name in legacy:
            _set_legacy(name, _EXACT[name])
        for each, _ in before:
            if each.fp32_precision not in ("ieee", "none"):
                each.fp32_precision = "ieee"
        yield
    finally:
        for name, value in legacy.items():
            _set_legacy(name, value)
        for each, precision in before:
            if each.fp32_precision != precision:
                each.fp32_precision = precision


def _precision_settings() -> list[Any]:
    """The objects that have an `fp32_precision` of their own, from torch 2.9 on."""
    backends = torch.backends
    owners = (
        (backends.cuda, "matmul"),
        *((each, name) for each in (backends.cudnn, backends.mkldnn) for name in _KINDS),
    )
    settings = [getattr(owner, name, None) for owner, name in owners]
    return [each for each in settings if each is not None and hasattr(each, "fp32_precision")]


def _legacy_settings() -> dict[str, Any]:
    """The settings of torch before 2.9, which later versions keep; without those that were set in the new way."""
    read = {
        "matmul": torch.get_float32_matmul_precision,
        "cudnn": lambda: torch.backends.cudnn.allow_tf32,
        "mkldnn": lambda: getattr(torch.backends.mkldnn, "allow_tf32", None),  # XPU, from torch 2.6 on
    }
    values: dict[str, Any] = {}
    for name, value in read.items():
        try:
            values[name] = value()
        except RuntimeError:  # "a mix of the legacy and new APIs": only the new ones count
            continue
    return {name: value for name, value in values.items() if value is not None}


def _set_legacy(name: str, value: Any) -> None:
    if name == "matmul":
        torch.set_float32_matmul_precision(value)
    else:
        getattr(torch.backends, name).allow_tf32 = value

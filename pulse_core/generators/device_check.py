"""Checks, before a generator is first used on a device, that the device computes what the CPU does.

Drivers and torch's kernels for rare devices have been silently wrong: a convolution that ignored the memory format of
its weight gave plausible but wrong images. So each kind of layer runs one tiny step, forward and backward, on the
device in float32 and on the CPU in float64. Where the results differ, the optimization at fault is disabled on that
device. The outcome is cached by device, driver and versions in a file in the user's cache folder.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..devices.device import exact_float32, is_out_of_memory
from ..devices.optimizations import disable, disabled, is_enabled, memory_format
from ..errors import SettingError
from ..files import whole_file
from . import Generator
from .device_cases import CASES, Case, RandomInputs

SUSPECTS = ("kernels", "channels_last", "layers")  # optimizations that may be at fault, the likeliest first
TOLERANCE = 1e-3  # relative to the largest value of a result; float32 has 1e-5, TF32 1e-3, a wrong result about 1
SIZES = ((1, 32, 16), (3, 7, 5))  # images, channels in and out: batches and odd numbers have their own kernels

CaseAtSize = tuple[Case, tuple[int, int, int]]

log = logging.getLogger(__name__)
_results: dict[str, tuple[str, ...]] = {}  # faulty optimizations, by `_identity`


def check_device(generator: Generator, *, forced: bool = False) -> None:
    """Checks the device that the generator is on, and disables the optimizations that give wrong results there.

    Takes a second or less on a new device, and almost nothing after that.

    Args:
        forced: check the CPU too, which is otherwise trusted as the reference.

    Raises:
        SettingError: the device gives wrong results even with all optimizations off.
    """
    device = next(generator.synthesis.parameters()).device
    if device.type == "meta" or (device.type == "cpu" and not forced):
        return
    cases = [case for case in CASES if not case.families or generator.family in case.families]
    identity = _identity(device, generator.family)
    faulty = _cached_result(identity)
    if faulty is None:
        faulty = _find_faulty(device, cases)
        if faulty is not None:
            _store_result(identity, faulty)
    for name in faulty or ():
        disable(name, device)
    apply_memory_format(generator)


def apply_memory_format(generator: Generator) -> None:
    """Brings the weights, in place, to the memory format of their device; they were built on the CPU."""
    with torch.inference_mode(False):
        for tensor in (*generator.parameters(), *generator.buffers()):
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=memory_format(tensor))


def _find_faulty(device: torch.device, cases: Sequence[Case]) -> tuple[str, ...] | None:
    """The smallest set of optimizations to disable so that all cases pass; None if memory ran out before."""
    with torch.inference_mode(False), torch.enable_grad(), exact_float32():
        with disabled(*SUSPECTS):
            expected = {
                (case, size): case.step(RandomInputs(torch.device("cpu"), torch.float64), *size)
                for case, size in _all_cases(cases)
            }
        first_failures: list[str] = []
        try:
            for names in _subsets([name for name in SUSPECTS if is_enabled(name, device)]):
                with disabled(*names):
                    failures = _find_failures(device, expected)
                if not failures:
                    if names:
                        _warn(device, names, first_failures)
                    return names
                first_failures = first_failures or failures
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
    raise SettingError(
        f"{_device_name(device)} ({device}) computes other numbers than the CPU: {'; '.join(failures)}.",
        "a device that agrees with the CPU up to rounding.",
        "use the CPU (`--device cpu`, or start ComfyUI with --cpu), and update torch and the driver of the device.",
    )


def _all_cases(cases: Sequence[Case]) -> Iterator[CaseAtSize]:
    return ((case, size) for case in cases for size in SIZES)


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The empty set, each name alone, each pair, ..., all names."""
    for count in range(len(names) + 1):
        yield from combinations(names, count)


def _find_failures(device: torch.device, expected: dict[CaseAtSize, list[Tensor]]) -> list[str]:
    """One message for each case that fails on the device.

    Raises:
        RuntimeError, MemoryError: out of memory. Other errors count as failures.
    """
    failures: dict[str, str] = {}
    for (case, size), references in expected.items():
        try:
            results = case.step(RandomInputs(device, torch.float32), *size)
            error = max(_relative_error(*pair) for pair in zip(results, references, strict=True))
        except (RuntimeError, TypeError) as failure:  # TypeError: MPS, for types that it does not support
            if is_out_of_memory(failure):
                raise
            failures.setdefault(case.name, f"{case.name}: {(str(failure) or type(failure).__name__).splitlines()[0]}")
            continue
        if not error <= TOLERANCE:  # also catches NaN
            failures.setdefault(case.name, f"{case.name}: off by {100 * error:.2g} %")
    return list(failures.values())


def _relative_error(result: Tensor, reference: Tensor) -> float:
    """The largest difference, relative to the largest value of the reference."""
    result = result.cpu().double()
    if result.shape != reference.shape:
        return float("inf")
    return float((result - reference).abs().max() / reference.abs().max())


def _warn(device: torch.device, names: Sequence[str], failures: Sequence[str]) -> None:
    log.warning(
        "%s (%s) computes wrong numbers with %s, which is disabled there (%s).",
        _device_name(device),
        device,
        " and ".join(repr(name) for name in names),
        "; ".join(failures),
    )


def _device_name(device: torch.device) -> str:
    module: Any = getattr(torch, device.type, None)
    if device.type != "cpu" and hasattr(module, "get_device_name"):
        return str(module.get_device_name(device))
    return platform.processor() or platform.machine()


def _identity(device: torch.device, family: str) -> str:
    """Everything that the outcome depends on: device, driver, system, versions, family, and the enabled suspects."""
    parts: list[Any] = [device.type, _device_name(device), platform.platform(), torch.__version__, __version__, family]
    parts += [name for name in SUSPECTS if is_enabled(name)]
    if device.type == "cuda":
        driver = getattr(torch._C, "_cuda_getDriverVersion", None)
        parts += [torch.version.cuda, torch.version.hip, torch.backends.cudnn.version(), driver and driver()]
        parts.append(_read_text(Path("/sys/module/nvidia/version")).strip())
    elif device.type == "xpu":
        parts.append(getattr(torch.xpu.get_device_properties(device), "driver_version", None))
    return " | ".join(map(str, parts))


def cache_file() -> Path:
    """The file with the outcomes: devices.json in the user's cache folder."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        default = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
        folder = Path(os.environ.get("XDG_CACHE_HOME") or default)
    return folder / "comfyui-pulse" / "devices.json"


def _cached_result(identity: str) -> tuple[str, ...] | None:
    """The faulty optimizations, as found earlier in this process or in the file; None if the device is new."""
    if identity not in _results:
        names = _read_cache().get(identity)
        if not isinstance(names, list) or not all(name in SUSPECTS for name in names):
            return None
        _results[identity] = tuple(names)
    return _results[identity]


def _store_result(identity: str, faulty: tuple[str, ...]) -> None:
    """Caches a result. If the file cannot be written, the next process checks again."""
    _results[identity] = faulty
    text = json.dumps({**_read_cache(), identity: list(faulty)}, indent=1)
    try:
        with whole_file(cache_file()) as path:
            path.write_text(text, encoding="utf-8")
    except OSError:
        log.debug("%s cannot be written", cache_file())


def _read_cache() -> dict[str, Any]:
    """The file's content; empty if it is missing or damaged."""
    try:
        content = json.loads(_read_text(cache_file()))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""

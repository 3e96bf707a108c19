"""Whether a device computes what the CPU does: asked once, before a generator is first used on it.

Drivers and torch's kernels for rare devices have been wrong without a word: a convolution that ignored how its weight
lies in memory gave pictures, only not the right ones. So each kind of layer takes one tiny step on the device, forward
and gradient, in float32, and the same on the CPU in float64. What differs is mended by leaving out an optimization on
that device; the outcome is kept by device, driver and version in a file of the user's cache.
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
from ..errors import SettingError
from ..files import whole_file
from ..generators import Generator
from .check_cases import CASES, Case, RandomInputs
from .device import exact_float32, is_out_of_memory
from .optimizations import disable, disabled, is_enabled, memory_format

SUSPECTS = ("kernels", "channels_last", "layers")  # optimizations that may be what is wrong, the likeliest first
TOLERANCE = 1e-3  # of the largest number of a result; float32 has 1e-5, TF32 1e-3, what is wrong 1
SIZES = ((1, 32, 16), (3, 7, 5))  # images, channels in and out: batches and odd numbers have kernels of their own

log = logging.getLogger(__name__)
_results: dict[str, tuple[str, ...]] = {}  # by identity: what is distrusted


def check_device(generator: Generator, *, forced: bool = False) -> None:
    """Makes sure that the device on which the generator lies computes its layers, or leaves out what it gets wrong.

    Takes a second or less on a device that was not met before, and nothing after that.

    Args:
        forced: also on the CPU, which is the reference otherwise.

    Raises:
        SettingError: the device is wrong without all optimizations, too.
    """
    device = next(generator.synthesis.parameters()).device
    if device.type == "meta" or (device.type == "cpu" and not forced):
        return
    cases = [case for case in CASES if not case.families or generator.family in case.families]
    identity = _identity(device, generator.family)
    wrong = _cached_result(identity)
    if wrong is None:
        wrong = _find_faulty(device, cases)
        if wrong is not None:
            _store_result(identity, wrong)
    for name in wrong or ():
        disable(name, device)
    apply_memory_format(generator)


def apply_memory_format(generator: Generator) -> None:
    """Lays out the weights anew, in place, as their device wants them; they were built on the CPU."""
    with torch.inference_mode(False):
        for tensor in (*generator.parameters(), *generator.buffers()):
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=memory_format(tensor))


def _find_faulty(device: torch.device, cases: Sequence[Case]) -> tuple[str, ...] | None:
    """The fewest optimizations without which all cases are right; None where the memory did not suffice to tell."""
    with torch.inference_mode(False), torch.enable_grad(), exact_float32():
        with disabled(*SUSPECTS):
            expected = {
                (case, size): case.step(RandomInputs(torch.device("cpu"), torch.float64), *size)
                for case, size in _all_cases(cases)
            }
        faults: list[str] = []
        try:
            for names in _subsets([name for name in SUSPECTS if is_enabled(name, device)]):
                with disabled(*names):
                    found = _find_failures(device, expected)
                if not found:
                    if names:
                        _warn(device, names, faults)
                    return names
                faults = faults or found
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
    raise SettingError(
        f"{_name(device)} ({device}) computes other numbers than the CPU does: {'; '.join(found)}.",
        "a device that computes what the CPU does, but for rounding.",
        "use the CPU (`--device cpu`, or start ComfyUI with --cpu), and update torch and the driver of the device.",
    )


def _all_cases(cases: Sequence[Case]) -> Iterator[tuple[Case, tuple[int, int, int]]]:
    return ((case, size) for case in cases for size in SIZES)


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """None of them, each alone, two, ..., all."""
    for count in range(len(names) + 1):
        yield from combinations(names, count)


def _find_failures(device: torch.device, expected: dict[tuple[Case, tuple[int, int, int]], list[Tensor]]) -> list[str]:
    """What is wrong with the cases, in words; nothing if they are right.

    Raises:
        RuntimeError, MemoryError: out of memory; other errors are faults.
    """
    faults: dict[str, str] = {}
    for (case, size), results in expected.items():
        try:
            mine = case.step(RandomInputs(device, torch.float32), *size)
            off = max(_distance(one, other) for one, other in zip(mine, results, strict=True))
        except (RuntimeError, TypeError) as error:  # TypeError: MPS, of types that it does not know
            if is_out_of_memory(error):
                raise
            faults.setdefault(case.name, f"{case.name}: {(str(error) or type(error).__name__).splitlines()[0]}")
            continue
        if not off <= TOLERANCE:  # nor NaN
            faults.setdefault(case.name, f"{case.name}: off by {100 * off:.2g} %")
    return list(faults.values())


def _distance(mine: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest number that there should be."""
    mine = mine.cpu().double()
    if mine.shape != expected.shape:
        return float("inf")
    return float((mine - expected).abs().max() / expected.abs().max())


def _warn(device: torch.device, names: Sequence[str], faults: Sequence[str]) -> None:
    what = " and ".join(repr(name) for name in names)
    log.warning(
        "%s (%s) computes wrong numbers with %s, which is left out there (%s).",
        _name(device),
        device,
        what,
        "; ".join(faults),
    )


def _name(device: torch.device) -> str:
    module: Any = getattr(torch, device.type, None)
    if device.type != "cpu" and hasattr(module, "get_device_name"):
        return str(module.get_device_name(device))
    return platform.processor() or platform.machine()


def _identity(device: torch.device, family: str) -> str:
    """What the outcome depends on: the device, its driver and system, torch, this pack, and which of SUSPECTS is on."""
    parts: list[Any] = [device.type, _name(device), platform.platform(), torch.__version__, __version__, family]
    parts += [name for name in SUSPECTS if is_enabled(name)]
    if device.type == "cuda":
        driver = getattr(torch._C, "_cuda_getDriverVersion", None)
        parts += [torch.version.cuda, torch.version.hip, torch.backends.cudnn.version(), driver and driver()]
        parts.append(_read(Path("/sys/module/nvidia/version")).strip())
    elif device.type == "xpu":
        parts.append(getattr(torch.xpu.get_device_properties(device), "driver_version", None))
    return " | ".join(map(str, parts))


def cache_file() -> Path:
    """Where outcomes are kept: devices.json in the user's folder for caches."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        usual = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
        folder = Path(os.environ.get("XDG_CACHE_HOME") or usual)
    return folder / "comfyui-pulse" / "devices.json"


def _cached_result(identity: str) -> tuple[str, ...] | None:
    """What is distrusted, from this process or the file; None where that is not known."""
    if identity not in _results:
        names = _read_cache().get(identity)
        if not isinstance(names, list) or not all(name in SUSPECTS for name in names):
            return None
        _results[identity] = tuple(names)
    return _results[identity]


def _store_result(identity: str, wrong: tuple[str, ...]) -> None:
    """A file that cannot be written is not needed: the next process asks again."""
    _results[identity] = wrong
    text = json.dumps({**_read_cache(), identity: list(wrong)}, indent=1)
    try:
        with whole_file(cache_file()) as path:
            path.write_text(text, encoding="utf-8")
    except OSError:
        log.debug("%s cannot be written", cache_file())


def _read_cache() -> dict[str, Any]:
    """All that the file says; nothing where it cannot be read."""
    try:
        outcomes = json.loads(_read(cache_file()))
    except (ValueError, RecursionError):
        return {}
    return outcomes if isinstance(outcomes, dict) else {}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""

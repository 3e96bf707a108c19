"""Compiles CUDA C++ at run time, by NVRTC, which every CUDA build of torch includes, and launches it.

Users need no compiler, on Windows neither. torch.cuda._compile_kernel (from torch 2.9 on) would need an installed CUDA
toolkit, and compiles again in each process.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from ...files import whole_file

Grid = tuple[int, int, int]
SOURCE = Path(__file__).with_name("features.cu")
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # TYPE in the source
_WIDE_WHEN_CONTIGUOUS = (
    "epilogue",
    "epilogue_back",
    "style_back",
)  # kernels with a vectorised variant for contiguous features
KERNEL_NAMES = (
    *(f"{name}{end}" for name in _WIDE_WHEN_CONTIGUOUS for end in ("_last_wide", "_last", "_wide", "_one")),
    *(f"{name}{end}" for name in ("noise_back", "haar", "haar_back") for end in ("_last_wide", "_last", "_one")),
    *(f"depthwise_{side}{end}" for side in (3, 4) for end in ("_wide", "_one")),
    "finish",
)
_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED
_POINTERS = ("out", "grad", "x", "factor", "noise", "strength", "bias", "weight", "result", "partial")
_SIZES = ("width", "height", "in_width", "in_height", "left", "top", "columns", "across")
_COUNTS = ("images", "channels", "units", "span", "noise_step", "strength_step", *_SIZES)


class KernelArgs(ctypes.Structure):
    """The argument of every kernel; features.cu documents the fields."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_longlong) for name in _COUNTS),
        ("strides", ctypes.c_longlong * 4),
        ("kinds", ctypes.c_int),
        ("flipped", ctypes.c_int),
        ("slope", ctypes.c_float),
        ("limit", ctypes.c_float),
    )


# (kernel name, grid (x, y, z), block (x, y), arguments)
Launch = Callable[[str, Grid, tuple[int, int], KernelArgs], None]


class Program:
    """The kernels of one device for features of one type, each compiled when it is first launched.

    Raises:
        OSError, AttributeError: NVRTC or the driver is missing.
        RuntimeError: compilation failed.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self._device = device
        self._options = [f"-DTYPE={TYPES[dtype]}", "--gpu-architecture=sm_{}{}".format(*capability(device))]
        self._driver = driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        self._functions: dict[str, ctypes.c_void_p] = {}
        self._context = ctypes.c_void_p()
        ordinal = ctypes.c_int()
        self._check(driver.cuDeviceGet(ctypes.byref(ordinal), device.index))
        self._check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), ordinal))  # torch's context
        self.function("finish")  # if one kernel compiles, all do

    def __call__(self, name: str, grid: Grid, block: tuple[int, int], args: KernelArgs) -> None:
        """Launches a kernel on the device's current stream."""
        function = self._functions.get(name) or self.function(name)
        stream = ctypes.c_void_p(torch.cuda.current_stream(self._device).cuda_stream)
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(args))
        with self._current_context():
            self._check(self._driver.cuLaunchKernel(function, *grid, *block, 1, 0, stream, arguments, None))

    def function(self, name: str) -> ctypes.c_void_p:
        """Compiles and loads a kernel."""
        code = _load_or_compile(name, self._options)
        driver, module, function, mode = self._driver, ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int(_RELAXED)
        with self._current_context():
            exchange = driver.cuThreadExchangeStreamCaptureMode
            self._check(exchange(ctypes.byref(mode)))  # lets a module be loaded while a stream is being captured
            try:
                self._check(driver.cuModuleLoadData(ctypes.byref(module), code))
                self._check(driver.cuModuleGetFunction(ctypes.byref(function), module, name.encode()))
            finally:
                exchange(ctypes.byref(mode))
        return self._functions.setdefault(name, function)

    @contextmanager
    def _current_context(self) -> Iterator[None]:
        """Makes the device's context current; a thread of autograd may have none yet, or another device's."""
        self._check(self._driver.cuCtxPushCurrent_v2(self._context))
        try:
            yield
        finally:
            self._driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def _check(self, error: int) -> None:
        if error:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(error, ctypes.byref(text))
            raise RuntimeError(f"CUDA: {(text.value or b'error').decode()} ({error})")


def capability(device: torch.device) -> tuple[int, int]:
    """The compute capability of an NVIDIA GPU.

    Raises:
        RuntimeError: this build of torch is not for CUDA.
    """
    if torch.version.cuda is None:
        raise RuntimeError("this torch is not for CUDA")
    return torch.cuda.get_device_capability(device)


def template_of(name: str) -> str:
    """The template instance in features.cu for a kernel's name: epilogue_last_wide -> epilogue<true,WIDE>."""
    if name == "finish":
        return "finish_sums"
    if name.startswith("depthwise"):
        _, side, width = name.split("_")
        return f"depthwise<{side},{4 if width == 'wide' else 1}>"
    for ending, arguments in (("_last_wide", "true,WIDE"), ("_last", "true,1"), ("_wide", "false,WIDE")):
        if name.endswith(ending):
            return f"{name.removesuffix(ending)}<{arguments}>"
    return f"{name.removesuffix('_one')}<false,1>"


def _load_or_compile(name: str, options: list[str]) -> bytes:
    """The machine code, from the cache folder if it was compiled before."""
    source = SOURCE.read_bytes()
    options = [*options, f"-DNAME={name}", f"-DBODY={template_of(name)}"]
    nvrtc = _nvrtc()
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    key = hashlib.sha256(b"\0".join([source, *(each.encode() for each in options)])).hexdigest()[:24]
    cached = _cache_folder() / f"pulse_{name}_{major.value}.{minor.value}_{key}.cubin"
    try:
        return cached.read_bytes()
    except OSError:
        code = _compile(nvrtc, source, options)
    with suppress(OSError), whole_file(cached) as path:  # if it cannot be written, it is compiled again next time
        path.write_bytes(code)
    return code


def _cache_folder() -> Path:
    """torch's cache folder for the kernels that it compiles itself."""
    if chosen := os.environ.get("PYTORCH_KERNEL_CACHE_PATH"):
        return Path(chosen)
    cache = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "torch" / "kernels"


def _compile(nvrtc: Any, source: bytes, options: list[str]) -> bytes:
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    given = (ctypes.c_char_p * len(options))(*(each.encode() for each in options))
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, SOURCE.name.encode(), 0, None, None):
        raise RuntimeError("NVRTC could not create a program.")
    try:
        failed = nvrtc.nvrtcCompileProgram(program, len(options), given)
        if failed:
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value + 1)
            nvrtc.nvrtcGetProgramLog(program, log)
            raise RuntimeError(f"NVRTC, error {failed}: {log.value.decode(errors='replace')[:2000]}")
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        code = ctypes.create_string_buffer(size.value)
        if nvrtc.nvrtcGetCUBIN(program, code) or not size.value:
            raise RuntimeError("NVRTC returned no machine code.")
        return code.raw
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _nvrtc() -> Any:
    """Loads NVRTC of the CUDA version of torch.

    Raises:
        OSError: it was not found.
    """
    major = str(torch.version.cuda).split(".")[0]
    own, packages = Path(torch.__file__).parent / "lib", Path(torch.__file__).parents[1]
    if sys.platform == "win32":
        names = [str(own / f"nvrtc64_{major}0_0.dll"), f"nvrtc64_{major}0_0.dll"]
    else:  # torch's own library finds and loads NVRTC
        there = sorted(packages.glob(f"nvidia/*/lib/libnvrtc.so.{major}"))
        names = [str(own / "libcaffe2_nvrtc.so"), f"libnvrtc.so.{major}", *map(str, there)]
    missing = OSError("no NVRTC")
    for name in names:
        try:
            library = ctypes.CDLL(name)
            library.nvrtcCompileProgram  # noqa: B018 - raises if missing
        except (OSError, AttributeError) as error:
            missing = OSError(f"no NVRTC: {error}")
        else:
            return library
    raise missing

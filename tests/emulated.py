"""The fused kernels on the CPU: their source, compiled by g++, with all threads emulated by one (emulated.cpp)."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pulse_core.generators.kernels import Kernels
from pulse_core.generators.kernels.launch import SOURCE, TYPES, Grid, KernelArgs

HERE = Path(__file__).resolve().parent
COMPILER = shutil.which("g++")


@cache
def library(dtype: torch.dtype, folder: Path) -> Any:
    """The compiled kernels for features of that type."""
    path = folder / f"kernels_{TYPES[dtype]}.so"
    options = [
        "-O1",
        "-std=c++17",
        "-shared",
        "-fPIC",
        "-fno-strict-aliasing",
        "-Wall",
        "-Wno-unused",
        "-Wno-unknown-pragmas",
    ]
    defined = [f"-DTYPE={TYPES[dtype]}", f'-DFEATURES="{SOURCE}"']
    subprocess.run([str(COMPILER), *options, *defined, "-o", str(path), str(HERE / "emulated.cpp")], check=True)
    loaded = ctypes.CDLL(str(path))
    assert loaded.size_of_args() == ctypes.sizeof(KernelArgs)
    return loaded


def emulated(dtype: torch.dtype, folder: Path, multiprocessors: int = 2) -> Kernels:
    """Kernels for features on the CPU; their attribute `launched` lists the names of launched kernels.

    multiprocessors: few give each thread several units of small features; many split them into slabs.
    """
    run = library(dtype, folder).run

    def launch(name: str, grid: Grid, block: tuple[int, int], args: KernelArgs) -> None:
        assert block[0] * block[1] <= 256
        assert all(1 <= count < 2**16 for count in grid[1:])
        launched.append(name)
        if run(name.encode(), (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 2)(*block), ctypes.byref(args)):
            raise KeyError(name)

    launched: list[str] = []
    kernels = Kernels(launch, multiprocessors)
    object.__setattr__(kernels, "launched", launched)
    return kernels

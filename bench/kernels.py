"""Registers and spills of the fused kernels on each architecture, compiled by nvcc: `python -m bench.kernels`.

Needs no GPU, but an nvcc: that of CUDA 13 for all ARCHITECTURES; architectures that it does not support are skipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pulse_core.generators.kernels.launch import KERNEL_NAMES, SOURCE, TYPES, template_of

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
_USED = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.DOTALL)


def known() -> list[int]:
    """The ARCHITECTURES that nvcc supports."""
    listed = subprocess.run(["nvcc", "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    return [each for each in ARCHITECTURES if f"compute_{each}\n" in f"{listed}\n"]


def used(kind: int, architectures: list[int]) -> dict[tuple[str, int], tuple[int, int]]:
    """(registers, spilled bytes) by kernel and architecture."""
    codes = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in architectures]
    first, *others = KERNEL_NAMES
    kernels = [
        f'extern "C" __global__ void __launch_bounds__(THREADS) {n}(const KernelArgs w) {{ {template_of(n)}(w); }}'
        for n in others
    ]
    chosen = f"#define TYPE {kind}\n#define NAME {first}\n#define BODY {template_of(first)}\n"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernels.cu"
        source.write_text("\n".join([chosen, SOURCE.read_text(encoding="utf-8"), *kernels]), encoding="utf-8")
        command = ["nvcc", *codes, "-Xptxas", "-v", "-fatbin", "-o", str(source.with_suffix(".fatbin")), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Compilation failed:\n{done.stderr}")
    found = {}
    for part in done.stderr.split("Compiling entry function")[1:]:
        name, numbers = re.search(r"'(\w+)' for 'sm_(\d+)'", part), _USED.search(part)
        assert name is not None
        assert numbers is not None, part
        found[name[1], int(name[2])] = int(numbers[3]), int(numbers[1]) + int(numbers[2])
    return found


def main() -> None:
    """Prints a table of registers, and of spilled bytes per thread."""
    if shutil.which("nvcc") is None:
        sys.exit("There is no nvcc on the PATH.")
    architectures = known()
    print("| kernel | type | " + " | ".join(f"sm_{each}" for each in architectures) + " |")
    print("| --- | --- |" + " ---: |" * len(architectures))
    found = {dtype: used(kind, architectures) for dtype, kind in TYPES.items()}
    for name in KERNEL_NAMES:
        for dtype in TYPES:
            cells = [found[dtype][name, each] for each in architectures]
            texts = [f"{registers}" + (f" (spills {spilled})" if spilled else "") for registers, spilled in cells]
            print(f"| {name} | {str(dtype).removeprefix('torch.')} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()

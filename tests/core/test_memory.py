"""Peak memory of loading: at most 1.2 times the tensors of a large file, in every format."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file
from writers import save_nvlabs, save_torch

WIDTH, SIDES = 400, (4, 8, 16, 32, 64, 128, 256, 512, 1024)

# Runs in a process of its own, as the peak of resident memory is per process.
MEASURE = """
import json, sys
from pathlib import Path
import torch
from pulse_core.loading.load import load_generator

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))

load_generator(sys.argv[1])  # imports everything
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
generator = load_generator(sys.argv[2])
print(json.dumps({"peak": resident("VmHWM") - before, "family": generator.family}))
"""


def wide_stylegan2():
    """Over 100 MB of weights in the layers of a 1024x1024 generator."""
    tensors = {"synthesis.b4.const": torch.zeros(WIDTH, 4, 4), "mapping.w_avg": torch.zeros(64)}
    for i in range(2):
        tensors |= {f"mapping.fc{i}.weight": torch.full((64, 64), 100.0), f"mapping.fc{i}.bias": torch.zeros(64)}
    for side in SIDES:
        for layer in ("conv1",) if side == 4 else ("conv0", "conv1"):
            prefix = f"synthesis.b{side}.{layer}"
            tensors[f"{prefix}.weight"] = torch.full((WIDTH, WIDTH, 3, 3), 0.1)
            tensors |= {f"{prefix}.affine.weight": torch.zeros(WIDTH, 64), f"{prefix}.affine.bias": torch.ones(WIDTH)}
            tensors |= {f"{prefix}.noise_strength": torch.tensor(0.0), f"{prefix}.bias": torch.zeros(WIDTH)}
            tensors[f"{prefix}.noise_const"] = torch.zeros(side, side)
        prefix = f"synthesis.b{side}.torgb"
        tensors |= {f"{prefix}.weight": torch.zeros(3, WIDTH, 1, 1), f"{prefix}.bias": torch.zeros(3)}
        tensors |= {f"{prefix}.affine.weight": torch.zeros(WIDTH, 64), f"{prefix}.affine.bias": torch.ones(WIDTH)}
    return tensors


WRITERS = {
    ".safetensors": lambda path, tensors: save_file(tensors, path),
    ".pt": lambda path, tensors: save_torch(path, {"g_ema": tensors, "d": {"x": torch.zeros(5_000_000)}}),
    ".pth": lambda path, tensors: save_torch(path, tensors, legacy=True),
    ".pkl": lambda path, tensors: save_nvlabs(path, tensors),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
@pytest.mark.parametrize("ending", WRITERS)
def test_peak_memory_of_loading_a_large_file(tmp_path, tiny_file, ending, record_property):
    tensors, path = wide_stylegan2(), tmp_path / f"large{ending}"
    size = sum(tensor.nbytes for tensor in tensors.values())
    assert size > 100e6
    WRITERS[ending](path, tensors)
    del tensors
    command = [sys.executable, "-c", MEASURE, str(tiny_file), str(path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    path.unlink()
    measured = json.loads(result.stdout)
    record_property("peak", measured["peak"] / size)
    print(f"{ending}: {size / 1e6:.0f} MB of tensors, peak {measured['peak'] / size:.2f} times that")
    assert measured["family"] == "stylegan2"
    assert measured["peak"] < 1.2 * size

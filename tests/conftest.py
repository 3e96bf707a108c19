"""Fixtures for all tests."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiers import pytest_addoption as pytest_addoption
from tiers import pytest_collection_modifyitems as pytest_collection_modifyitems
from tiers import pytest_fixture_setup as pytest_fixture_setup
from tiers import pytest_runtest_call as pytest_runtest_call
from tiers import pytest_terminal_summary as pytest_terminal_summary
from tiny import save_tiny, tiny_mobile_tensors

from pulse_core.generators import Generator, build_generator
from pulse_core.latents.gaussian import LatentGaussian, fit_gaussian
from pulse_core.loading import catalogue
from pulse_core.loading.load import load_generator

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).resolve().parent / "golden"

# These limit memory and time by means that only Linux has.
if not sys.platform.startswith("linux"):
    collect_ignore = ["core/test_fuzz.py", "core/test_hostile.py", "core/test_hostile_weights.py"]

_numbers = itertools.count()
torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits are cached in a folder of the test's own, not the user's."""
    monkeypatch.setenv("PULSE_CACHE", str(tmp_path_factory.getbasetemp() / "caches" / str(next(_numbers))))


@pytest.fixture(scope="session")
def golden():
    """golden(name) -> the reference tensors by key. Complete files in the folder PULSE_GOLDEN take precedence."""

    def read(name: str) -> dict[str, torch.Tensor]:
        complete = Path(os.environ.get("PULSE_GOLDEN", "")) / f"{name}.safetensors"
        return load_file(complete if complete.is_file() else GOLDEN / f"{name}.safetensors")

    return read


@pytest.fixture(scope="session")
def golden_runs() -> dict[str, dict]:
    """The settings of the reference trajectories, from the file's metadata."""
    with safe_open(GOLDEN / "pulse_trajectory.safetensors", "pt") as file:
        return json.loads(file.metadata()["runs"])


@pytest.fixture(scope="session")
def tiny() -> Generator:
    """The tiny generator in float32."""
    return build_generator(tiny_mobile_tensors(), name="tiny")


@pytest.fixture(scope="session")
def tiny64() -> Generator:
    """The tiny generator in float64."""
    return build_generator(tiny_mobile_tensors(), name="tiny", dtype=torch.float64)


@pytest.fixture(scope="session")
def tiny_fit(tiny: Generator) -> LatentGaussian:
    """A Gaussian fit of the tiny generator."""
    return fit_gaussian(tiny, 2000)


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """The checkpoint of the tiny generator, in a folder of its own."""
    return save_tiny(tmp_path / "models" / "tiny.safetensors")


@pytest.fixture(scope="session")
def ffhq_mobile() -> Generator:
    """The default generator. Skips the test if it has not been fetched."""
    row = catalogue.entry(catalogue.DEFAULT_GENERATOR)
    if not (catalogue.weights_dir() / row.file).is_file():
        pytest.skip(f"run: python -m pulse_core fetch {row.name}")
    return load_generator(row.name)

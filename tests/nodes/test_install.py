"""install.py: fetches the default generator, and never fails the installation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pulse_core.loading import catalogue

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = catalogue.entry(catalogue.DEFAULT_GENERATOR)


def install(weights, **variables):
    """Runs it as the Manager does, without any package index -> what it says; it has to end well."""
    none = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    run = subprocess.run(
        [sys.executable, "install.py"],
        cwd=ROOT,
        env={**os.environ, **none, "PULSE_WEIGHTS": str(weights), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout + run.stderr


def test_it_fetches_the_default_generator():
    assert f'GENERATOR = "{catalogue.DEFAULT_GENERATOR}"' in (ROOT / "install.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("missing", ["an index", "torch"])
def test_it_ends_well_without(missing, tmp_path):
    weights, broken = tmp_path / "weights", tmp_path / "broken"
    broken.mkdir()
    (broken / "torch.py").write_text("raise ImportError('no torch here')", encoding="utf-8")
    said = install(weights, **({"PYTHONPATH": str(broken)} if missing == "torch" else {}))
    assert ("no torch here" if missing == "torch" else DEFAULT.source["requirement"]) in said
    assert f'"{sys.executable}" -m pulse_core fetch {DEFAULT.name}' in said
    assert not [path for path in weights.rglob("*") if path.is_file()]


@pytest.mark.weights
def test_a_generator_that_is_there_stays(tmp_path):
    fetched = catalogue.weights_dir() / DEFAULT.file
    if not fetched.is_file():
        pytest.skip(f"run: python -m pulse_core fetch {DEFAULT.name}")
    (tmp_path / DEFAULT.file).write_bytes(fetched.read_bytes())
    assert "already there" in install(tmp_path)
    assert (tmp_path / DEFAULT.file).read_bytes() == fetched.read_bytes()

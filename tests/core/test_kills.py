"""Killed at random moments: nothing half-written, lost, done again or orphaned. PULSE_KILLS says how often."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from processes import descendants, ended

from pulse_core.checkpoints import safetensors_format
from pulse_core.files import is_partial
from pulse_core.pictures.images import read_metadata, save_image

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds workers in /proc")
KILLS = int(os.environ.get("PULSE_KILLS", "6"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
WAYS = (("upscale",), ("upscale", "--devices", "cpu,cpu"), ("photo", "--lr-size", "8"))


@pytest.fixture
def inputs(tmp_path):
    """Pictures for `upscale`, and photographs for `photo`."""
    for number in range(5):
        image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(number))
        save_image(image, tmp_path / "upscale" / f"{number}.png")
    (tmp_path / "photo").mkdir()
    for number in range(3):
        shutil.copy(ROOT / "samples" / "eileen_collins_102x102.png", tmp_path / "photo" / f"{number}.png")
    return tmp_path


def begun(inputs, tiny_file, out, way):
    command, *more = way
    words = [command, inputs / command, "-o", out, "--generator", tiny_file, "--report", out / "report.json"]
    words += ["--side-by-side", "--steps", 60, *more, *(["--latents"] if command == "upscale" else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "pulse_core", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def whole(path: Path) -> bool:
    """Whether a file is complete."""
    if path.suffix == ".png":
        return read_metadata(path) is not None
    if path.suffix == ".json":
        return bool(json.loads(path.read_text()))
    return bool(safetensors_format.load(path)[0])


def files(out: Path) -> dict[Path, int]:
    """All files and when they were written."""
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def results(inputs: Path, out: Path, way) -> dict[Path, int]:
    """Those of files() that are results."""
    names = {path.name for path in (inputs / way[0]).iterdir()}
    return {path: when for path, when in files(out).items() if path.parent == out and path.name in names}


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_kills_at_random_moments(inputs, tiny_file, way):
    draw, longest, told, number = random.Random(str(way)), 12.0, Counter(), 0
    for kill in range(-(-KILLS // len(WAYS))):
        out, how = inputs / f"out{number}", SIGNALS[kill % 3]
        before = results(inputs, out, way) if out.exists() else {}
        started, process = time.monotonic(), begun(inputs, tiny_file, out, way)
        moment = draw.uniform(0.2, longest)
        while time.monotonic() < started + moment and process.poll() is None:
            time.sleep(0.02)
        family = descendants(process.pid)
        if process.poll() is None:
            (os.killpg if draw.random() < 0.5 and how != signal.SIGKILL else os.kill)(process.pid, how)
            told[how.name] += 1
        else:
            longest = max(2.0, time.monotonic() - started)
        _, error = process.communicate(timeout=60)
        assert ended(family, 20) == [], "orphans"
        left = files(out) if out.exists() else {}
        assert all(whole(path) for path in left if not is_partial(path)), "half-written"
        now = results(inputs, out, way) if out.exists() else {}
        assert before.items() <= now.items(), "lost or done again"
        if process.returncode == 0:
            number += 1  # complete: the next kill meets an empty folder
    out = inputs / f"out{number}"
    before = results(inputs, out, way) if out.exists() else {}
    process = begun(inputs, tiny_file, out, way)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert before.items() <= results(inputs, out, way).items(), "done again"
    assert not [path for path in files(out) if is_partial(path)], "partial files stay"
    assert all(map(whole, files(out)))
    count = len(list((inputs / way[0]).iterdir()))
    rows = json.loads((out / "report.json").read_text())["images" if way[0] == "upscale" else "faces"]
    assert len({row["input"] for row in rows}) == len(results(inputs, out, way)) == count
    print(f"{' '.join(way)}: {sum(told.values())} kills {dict(told)}")

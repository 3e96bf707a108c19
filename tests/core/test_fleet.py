"""Folders over several workers: all that is asked for is there in the end, whoever dies on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from processes import descendants, ended

from pulse_core.cli import main
from pulse_core.degradations.bicubic import downsample
from pulse_core.latents.sampling import sample
from pulse_core.pictures.images import read_metadata, save_image

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds workers in /proc")
COUNT = 4


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """Some tiny faces."""
    for index, (image, _) in enumerate(sample(tiny, range(COUNT))):
        save_image(downsample(image.clamp(0, 1), size=(8, 8)), tmp_path / "in" / f"{index}.png")
    return tmp_path


def words(tiny_file, folder, *more):
    given = [
        "upscale",
        folder / "in",
        "-o",
        folder / "out",
        "--generator",
        tiny_file,
        "--report",
        folder / "report.json",
    ]
    return [str(word) for word in (*given, *more)]


def complete(folder, count=COUNT):
    rows = json.loads((folder / "report.json").read_text())["images"]
    assert sorted(Path(row["input"]).stem for row in rows) == [str(index) for index in range(count)]
    assert all(read_metadata(Path(row["output"]))["l2"] == row["l2"] for row in rows)
    assert not [path for path in (folder / "out").iterdir() if path.suffix != ".png"]
    return rows


def begun(arguments):
    environment = {**os.environ, "RAY_DEDUP_LOGS": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "pulse_core", *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # a shell starts its background jobs, and so these tests and their children, with SIGINT ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def named(pid: int, text: bytes) -> bool:
    try:
        return text in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill_a_worker(process, folder, text: bytes):
    """Once a first result is there and others are being worked on."""
    deadline = time.monotonic() + 120
    while not list((folder / "out").glob("*.png")):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = [pid for pid in descendants(process.pid) if named(pid, text)]
    assert workers
    os.kill(workers[0], signal.SIGKILL)


def test_two_processes_share_a_folder_and_one_bad_picture_stops_neither(tiny_file, folder, capsys):
    (folder / "in" / "9.png").write_bytes(b"not a picture")
    assert main(words(tiny_file, folder, "--devices", "cpu,cpu", "--steps", 5)) == 2
    rows = complete(folder)
    out, err = capsys.readouterr()
    assert "does not exist" in out
    assert "9.png" in err
    alone = folder / "alone"
    assert (
        main(["upscale", str(folder / "in" / "3.png"), "-o", str(alone), *words(tiny_file, folder, "--steps", 5)[4:]])
        == 0
    )
    same = {row["input"]: row for row in rows}[str(folder / "in" / "3.png")]
    assert read_metadata(alone / "3.png")["l2"] == pytest.approx(same["l2"], rel=1e-3)


def test_a_worker_that_dies_is_reported_and_the_next_run_resumes(tiny_file, folder):
    arguments = words(tiny_file, folder, "--steps", 60)
    first = begun([*arguments, "--devices", "cpu,cpu"])
    kill_a_worker(first, folder, b"spawn_main")
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 2, output
    assert "A worker died" in output
    done = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*.png")}
    assert done
    assert main(arguments) == 0
    complete(folder)
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(tiny_file, folder, how):
    process = begun([*words(tiny_file, folder, "--steps", 20000), "--devices", "cpu,cpu"])
    try:
        deadline = time.monotonic() + 120
        while sum(named(pid, b"spawn_main") for pid in descendants(process.pid)) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        family = descendants(process.pid)
        time.sleep(3)  # into their searches, which would take minutes
        process.send_signal(how)
        process.wait(120)
        assert ended(family, 20) == []
        assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    finally:
        process.kill()


def test_a_killed_ray_worker_loses_nothing(tiny_file, folder):
    pytest.importorskip("ray")
    arguments = words(tiny_file, folder, "--ray", "--devices", "cpu,cpu", "--steps", 60)
    process = begun(arguments)
    kill_a_worker(process, folder, b"ray::Worker")
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    complete(folder)


def test_without_ray_it_says_what_to_install(tiny_file, folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(words(tiny_file, folder, "--ray")) == 2
    assert "pip install ray" in capsys.readouterr().err


def test_what_is_there_is_not_searched_for_again(tiny_file, folder, monkeypatch):
    arguments = words(tiny_file, folder, "--steps", 3, "--solutions", 2)
    assert main(arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    assert len(before) == 2 * COUNT
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()} == before
    assert main([*arguments, "--seed", "1"]) == 0
    assert all(path.stat().st_mtime_ns > when for path, when in before.items())


def test_photographs_are_shared_too(tiny_file, tmp_path, capsys):
    for name in ("one", "two"):
        shutil.copy(ROOT / "samples" / "eileen_collins_102x102.png", tmp_path / f"{name}.png")
    given = [
        "photo",
        tmp_path / "*.png",
        "-o",
        tmp_path / "out",
        "--generator",
        tiny_file,
        "--lr-size",
        8,
        "--steps",
        3,
    ]
    arguments = [str(word) for word in (*given, "--report", tmp_path / "report.json")]
    assert main([*arguments, "--devices", "cpu,cpu"]) == 0
    assert "two.png: 1 face" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "report.json").read_text())["faces"]) == 2
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"one.png", "two.png"}

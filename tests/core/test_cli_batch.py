"""Folders of all sorts: what cannot be used is told in one line and costs nothing else; what is done is done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from pictures import FORMS, huge_text

from pulse_core import cli
from pulse_core.cli import upscale as upscale_command
from pulse_core.pictures.images import read_image, read_metadata, save_image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="makes pipes and links")
ODD = {
    "cut.png": FORMS["png"]()[:60],
    "damaged qoi.qoi": FORMS["qoi"]()[:20],
    "damaged tif.tif": FORMS["tif"]()[:9] + b"\xff" * 40,
    "damaged dds.dds": FORMS["dds"]()[:90],
    "damaged sgi.sgi": FORMS["sgi"]()[:300],
    "damaged xbm.xbm": b"#define im_width 9\n#define im_height 9\nstatic char x[] = {\n",
    "damaged ppm.ppm": b"P3\n2 2\n255\n1 2 x",
    "damaged avif.avif": FORMS["avif"]()[:80],
    "empty.jpg": b"",
    "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
}
SPECIAL = ("album.png", "dangling.png", "loop.png", "pipe.png")


def run(*words):
    return cli.main([str(word) for word in words])


def upscale(tiny_file, folder, out, *more):
    return run("upscale", folder, "-o", out, "--generator", tiny_file, "--steps", 1, *more)


@pytest.fixture
def folder(tmp_path):
    """Two pictures."""
    for number in range(2):
        random = torch.Generator().manual_seed(number)
        save_image(torch.rand(3, 8, 8, generator=random), tmp_path / "in" / f"good{number}.png")
    return tmp_path / "in"


@pytest.fixture
def odd(folder):
    """Two pictures among much that is none, or none that can be used."""
    for name, data in ODD.items():
        (folder / name).write_bytes(data)
    (folder / "album.png").mkdir()
    (folder / "dangling.png").symlink_to(folder / "nowhere")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "._a.png").write_bytes(b"\0\5\x16\7")
    (folder / "notes.txt").write_text("hello")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "deeper").mkdir()
    return folder


@pytest.mark.parametrize("command", ["upscale", "photo", "upscale --devices cpu,cpu"])
def test_a_folder_of_all_sorts_goes_on(tiny_file, odd, tmp_path, capsys, command):
    name, *more = command.split()
    if name == "photo":
        more += ["--no-face", "pass"]
    words = ["--generator", tiny_file, "--steps", 1, "--report", tmp_path / "r.json", *more]
    assert run(name, odd, "-o", tmp_path / "out", *words) == 2
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == {"good0", "good1"}
    error = capsys.readouterr().err
    for each in (*ODD, *SPECIAL):
        (line,) = [line for line in error.splitlines() if line.startswith(f"{odd / each}: ")]
        assert "What to do: " in line
    assert "Traceback" not in error
    assert f"{odd}: left out: 1 .heic, 1 .txt, 1 folder, 1 hidden. HEIC: convert it to JPEG or PNG" in error


@pytest.mark.parametrize("option", ["--init-latent", "--gaussian", "--generator", "--mapping", "--degradation"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "missing"])
def test_an_option_that_names_no_file_ends_before_any_work(
    tiny_file, folder, tmp_path, capsys, option, kind, no_search
):
    path = tmp_path / "x.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    value = f"mask({path})" if option == "--degradation" else path
    assert upscale(tiny_file, folder, tmp_path / "out", option, value) == 2
    assert str(path) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [*ODD, *SPECIAL])
def test_each_alone_is_an_ordinary_error(tiny_file, odd, tmp_path, capsys, name):
    for words in (["downsample", odd / name, "-o", tmp_path / "x.png", "--size", 4], ["inspect", odd / name]):
        assert run(*words) == 2
        assert name in capsys.readouterr().err
    assert upscale(tiny_file, odd / name, tmp_path / "out") == 2 or name == "album.png"
    assert not (tmp_path / "out").exists()


def test_every_ending_that_can_be_read_is_found_in_a_folder(tiny_file, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    save_image(torch.rand(3, 8, 8), tmp_path / "a.png")
    endings = [".jfif", ".jpe", ".avif", ".gif", ".bmp", ".tif", ".TIFF", ".webp", ".jp2", ".tga", ".ppm", ".qoi"]
    from PIL import Image

    for number, ending in enumerate(endings):
        Image.open(tmp_path / "a.png").save(tmp_path / "in" / f"{number}{ending.lower()}")
        (tmp_path / "in" / f"{number}{ending.lower()}").rename(tmp_path / "in" / f"{number}{ending}")
    assert upscale(tiny_file, tmp_path / "in", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == len(endings)


def test_frames_are_told(tiny_file, tmp_path, capsys):
    (tmp_path / "a.gif").write_bytes(FORMS["gif"]())
    assert upscale(tiny_file, tmp_path / "a.gif", tmp_path / "out") == 0
    assert f"{tmp_path / 'a.gif'}: it has 4 frames; the first is used" in capsys.readouterr().err


def test_a_large_text_is_no_reason_to_refuse(tiny_file, tmp_path):
    (tmp_path / "a.png").write_bytes(huge_text())
    assert upscale(tiny_file, tmp_path / "a.png", tmp_path / "out") == 0


def test_names_that_the_terminal_lacks(tiny_file, tmp_path):
    names = ["日本.png", "a\nb.png", os.fsdecode(b"\xff\xfe.png"), "x" * 236 + ".png"]
    (tmp_path / "in").mkdir()
    for name in names:
        save_image(torch.rand(3, 8, 8), tmp_path / "in" / name)
    (tmp_path / "in" / "ü.png").write_bytes(b"broken")
    words = ["upscale", tmp_path / "in", "-o", tmp_path / "out", "--generator", tiny_file, "--steps", 1]
    done = subprocess.run(
        [sys.executable, "-m", "pulse_core", *map(str, words), "--report", str(tmp_path / "r.json")],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert rb"\xfc.png" in done.stderr
    assert sorted(os.listdir(tmp_path / "out")) == sorted(names)
    assert len(json.loads((tmp_path / "r.json").read_text())["images"]) == len(names)


def test_a_name_that_is_too_long_for_its_results_is_told_before_any_search(tiny_file, folder, tmp_path, capsys):
    save_image(torch.rand(3, 8, 8), folder / ("x" * 245 + ".png"))
    assert upscale(tiny_file, folder, tmp_path / "out", "--latents") == 2
    error = capsys.readouterr().err
    assert error.index("is too long") < error.index("good0.png: ")
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


@pytest.fixture
def no_search(monkeypatch):
    monkeypatch.setattr(upscale_command, "upscale", lambda *_, **__: pytest.fail("searches"))


@pytest.mark.parametrize(
    "kind", ["-o a file", "-o below a file", "report a folder", "report below a file", "read-only"]
)
def test_an_output_that_cannot_be_written_is_told_before_any_search(
    tiny_file, folder, tmp_path, capsys, kind, no_search, monkeypatch
):
    (tmp_path / "file").write_text("kept")
    out, report = tmp_path / "out", tmp_path / "r.json"
    if kind.startswith("-o"):
        out = tmp_path / "file" / ("deep" if "below" in kind else ".")
        out = tmp_path / "file" if kind == "-o a file" else out
    elif kind == "read-only":
        monkeypatch.setattr("tempfile.TemporaryFile", _denied)  # root may write everywhere
    else:
        report = tmp_path if kind == "report a folder" else tmp_path / "file" / "r.json"
    assert upscale(tiny_file, folder, out, "--report", report) == 2
    error = capsys.readouterr().err
    assert "-o" in error if kind[0] == "-" or kind == "read-only" else "report" in error
    assert (tmp_path / "file").read_text() == "kept"


def _denied(**_):
    raise PermissionError(13, "Permission denied")


def test_a_folder_where_a_result_belongs(tiny_file, folder, tmp_path, capsys):
    (tmp_path / "out" / "good1.png").mkdir(parents=True)
    assert upscale(tiny_file, folder, tmp_path / "out") == 2
    assert "good1.png, where its result belongs, is a folder" in capsys.readouterr().err
    assert (tmp_path / "out" / "good0.png").is_file()


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (["a.png", "a_side_by_side.png"], ["--side-by-side"]),
        (["a.png", "a.bmp"], []),
        (["a.png", "a-1.png"], ["--report", "out/a.png"]),
        (["a.png", "a-1_side_by_side.jpg"], ["--solutions", "2", "--side-by-side", "--report", "out/a-1.png"]),
    ],
)
def test_names_that_would_collide_are_told_before_any_work(
    tiny_file, tmp_path, capsys, names, more, no_search, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in names:
        save_image(torch.rand(3, 8, 8), tmp_path / "in" / name)
    assert upscale(tiny_file, "in", "out", *more) == 2
    assert "the path of another result or an input, or of the report" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_that_only_look_like_colliding_do_not(tiny_file, tmp_path):
    for name in ("a.png", "a_side_by_side.png", "a-1.png"):
        save_image(torch.rand(3, 8, 8), tmp_path / "in" / name)
    assert upscale(tiny_file, tmp_path / "in", tmp_path / "out") == 0


@pytest.fixture
def searches(monkeypatch):
    """The number of searches."""
    made, original = [], upscale_command.upscale

    def counted(*words, **options):
        made.append(1)
        return original(*words, **options)

    monkeypatch.setattr(upscale_command, "upscale", counted)
    return made


@pytest.mark.parametrize("lost", ["good0_side_by_side.png", "good0.latent.safetensors", "good0.png", "report.json"])
@pytest.mark.parametrize("how", ["missing", "cut", "another's"])
def test_companions_are_checked_and_made_again(tiny_file, folder, tmp_path, searches, lost, how):
    out = tmp_path / "out"
    more = ("--side-by-side", "--latents", "--report", out / "report.json")
    assert upscale(tiny_file, folder, out, *more) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert upscale(tiny_file, folder, out, *more) == 0
    assert len(searches) == 2, "nothing is done twice"
    if how == "missing":
        (out / lost).unlink()
    elif how == "cut":
        (out / lost).write_bytes(before[lost][:-20])
    else:
        (out / lost).write_bytes(before[lost.replace("good0", "good1")])
    assert upscale(tiny_file, folder, out, *more) == 0
    assert len(searches) == (2 if lost == "report.json" else 3)
    assert {path.name for path in out.iterdir()} == before.keys()
    recipes = {name: read_metadata(out / name)["recipe"] for name in before if name.endswith(".png")}
    assert recipes["good0.png"] == recipes["good0_side_by_side.png"] != recipes["good1.png"]
    assert upscale(tiny_file, folder, out, *more) == 0
    assert len(searches) == (2 if lost == "report.json" else 3)


def test_the_result_is_written_last(tiny_file, folder, tmp_path, monkeypatch):
    def stopped(*_, **__):
        assert not list((tmp_path / "out").glob("good0.png"))
        raise KeyboardInterrupt

    monkeypatch.setattr(upscale_command, "_compare", stopped)
    assert upscale(tiny_file, folder, tmp_path / "out", "--side-by-side", "--latents") == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good0.latent.safetensors"]


def test_a_file_that_is_replaced_while_it_is_searched_is_searched_again(tiny_file, folder, tmp_path, monkeypatch):
    """Its result is of the bytes that were decoded, and says so."""
    original, other = upscale_command.upscale, folder / "good1.png"

    def replaced(*words, **options):
        shutil.copy(other, folder / "good0.png")
        return original(*words, **options)

    monkeypatch.setattr(upscale_command, "upscale", replaced)
    assert upscale(tiny_file, folder, tmp_path / "out", "--fidelity", 1) == 0
    monkeypatch.setattr(upscale_command, "upscale", original)
    first = read_image(tmp_path / "out" / "good0.png")
    assert upscale(tiny_file, folder, tmp_path / "out", "--fidelity", 1) == 0
    second = read_image(tmp_path / "out" / "good0.png")
    assert not torch.equal(first, second)
    assert torch.equal(second, read_image(tmp_path / "out" / "good1.png"))


def test_every_file_that_a_setting_names_is_in_the_recipe(tiny_file, folder, tmp_path, searches):
    mask, latent = tmp_path / "m.png", tmp_path / "first" / "good0.latent.safetensors"
    save_image(torch.ones(3, 8, 8), mask)
    first = upscale(tiny_file, folder / "good0.png", tmp_path / "first", "--latents", "--seed", 1)
    assert first == 0
    words = ("--degradation", f"mask({mask}) + noise(0.1)", "--init-latent", latent)
    one = folder / "good0.png"
    counts = []
    for change in (None, None, "mask", None, "latent", None):
        if change == "mask":
            half = torch.ones(3, 8, 8)
            half[:, 4:] = 0
            save_image(half, mask)
        elif change == "latent":
            assert upscale(tiny_file, one, tmp_path / "first", "--latents", "--seed", 2) == 0
        before = len(searches)
        assert upscale(tiny_file, one, tmp_path / "out", *words) == 0
        counts.append(len(searches) - before)
    assert counts == [1, 0, 1, 0, 1, 0]


def test_a_second_run_that_is_stopped_does_not_shorten_an_earlier_report(tiny_file, folder, tmp_path, monkeypatch):
    report = tmp_path / "r.json"

    def inputs():
        return [Path(row["input"]).name for row in json.loads(report.read_text())["images"]]

    assert upscale(tiny_file, folder, tmp_path / "out", "--report", report) == 0
    original, made = upscale_command.upscale, []

    def stopped(*words, **options):
        made.append(1)
        if len(made) == 2:
            raise KeyboardInterrupt
        return original(*words, **options)

    monkeypatch.setattr(upscale_command, "upscale", stopped)
    assert upscale(tiny_file, folder, tmp_path / "out", "--report", report, "--seed", 5) == 130
    assert inputs() == ["good0.png", "good1.png"]
    seeds = [row["seed"] for row in json.loads(report.read_text())["images"]]
    assert seeds == [5, 0]
    report.write_text("[1, 2")  # no report at all
    made.clear()
    assert upscale(tiny_file, folder, tmp_path / "out", "--report", report, "--seed", 6) == 130
    assert inputs() == ["good0.png"]


def test_partial_files_are_no_input(tiny_file, folder, tmp_path):
    partial = folder / ".pulse-00000000-1-abc.partial.png"
    shutil.copy(folder / "good0.png", partial)
    assert run("upscale", folder / "*.png", folder / ".*.png", "-o", tmp_path / "o", "--generator", tiny_file) == 2
    assert not (tmp_path / "o").exists()  # the second glob has nothing else
    assert upscale(tiny_file, folder, tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 2

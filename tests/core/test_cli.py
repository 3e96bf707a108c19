"""The shell commands, on the tiny generator."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from torch.nn import functional as F
from writers import save_nvlabs
from zoo import ZOO

from pulse_core import cli
from pulse_core.cli import upscale as upscale_command
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.latents.latent import Latent
from pulse_core.pictures import images
from pulse_core.pictures.images import read_image, save_image


@pytest.fixture
def faces(tmp_path):
    """A folder with two 8x8 pictures."""
    for index in range(2):
        random = torch.Generator().manual_seed(index)
        save_image(torch.rand(3, 8, 8, generator=random), tmp_path / "in" / f"face{index}.png")
    return tmp_path / "in"


def run(*words):
    return cli.main([str(word) for word in words])


def upscale(tiny_file, faces, out, *more):
    brief = ("--steps", 3, "--device", "cpu")
    return run("upscale", faces, "-o", out, "--generator", tiny_file, *brief, *more)


def test_upscale_writes_pictures_and_a_report(tiny_file, faces, tmp_path, capsys):
    out = tmp_path / "out"
    assert upscale(tiny_file, faces, out, "--report", out / "report.json", "--side-by-side", "--seed", 4) == 0
    report = json.loads((out / "report.json").read_text())
    assert [row["input"] for row in report["images"]] == [str(faces / "face0.png"), str(faces / "face1.png")]
    for row in report["images"]:
        assert read_image(row["output"]).shape == (3, 32, 32)
        assert row["seed"] == 4
        assert row["steps"] == 3
        assert row["converged"] is (row["search_l2"] <= row["eps"])
        assert row["l2"] < row["search_l2"], "the residual is in the picture"
        assert row["generator"] == "tiny"
        assert len(row["generator_hash"]) == 64
        assert row["seconds"] > 0
    assert (out / "face0_side_by_side.png").is_file()
    assert "does not exist" in report["notice"]
    assert "does not exist" in capsys.readouterr().out


def test_upscale_writes_a_picture_for_each_solution(tiny_file, faces, tmp_path):
    assert upscale(tiny_file, faces / "face0.png", tmp_path / "out", "--solutions", 2) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"face0-1.png", "face0-2.png"}


def test_a_written_latent_is_searched_on_from(tiny_file, faces, tmp_path):
    out, report = tmp_path / "out", tmp_path / "r.json"
    assert upscale(tiny_file, faces / "face0.png", out, "--latents", "--report", report) == 0
    (first,) = json.loads(report.read_text())["images"]
    latent = Latent.load(out / "face0.latent.safetensors")
    assert (latent.generator, latent.records[0]["l2"]) == ("tiny", first["l2"])
    more = ("--init-latent", out / "face0.latent.safetensors", "--report", report)
    assert upscale(tiny_file, faces / "face0.png", tmp_path / "on", *more) == 0
    assert json.loads(report.read_text())["images"][0]["search_l2"] <= first["search_l2"] * 1.001


def test_every_setting_is_an_option(tiny_file, faces, tmp_path):
    words = ["--eps", 0.01, "--loss", "10*L1", "--optimizer", "sgdm", "--learning-rate", 0.1, "--schedule", "fixed"]
    words += ["--noise", "zero", "--latent-space", "W", "--batch-size", 2, "--report", tmp_path / "r.json"]
    assert upscale(tiny_file, faces / "face0.png", tmp_path / "out", *words) == 0
    settings = json.loads((tmp_path / "r.json").read_text())["images"][0]["settings"]
    assert settings["loss"] == "10*L1"
    assert settings["optimizer"] == "sgdm"
    assert settings["latent_space"] == "W"
    assert settings["eps"] == 0.01


def test_a_preset_and_what_is_changed_of_it(tiny_file, faces, tmp_path):
    def settings(*words):
        report = tmp_path / "r.json"
        assert upscale(tiny_file, faces / "face0.png", tmp_path / "out", "--report", report, *words) == 0
        return json.loads(report.read_text())["images"][0]["settings"]

    assert settings()["prior"] == "whitened"
    published = settings("--preset", "published", "--learning-rate", 0.2)
    assert (published["prior"], published["loss"]) == ("sphere", "100*L2+0.05*GEOCROSS")
    assert published["learning_rate"] == 0.2


def test_a_degradation_joins_the_forward_operator_and_the_report(tiny_file, faces, tmp_path, capsys):
    words = ["--degradation", "grey + noise(0.05)", "--report", tmp_path / "r.json"]
    assert upscale(tiny_file, faces / "face0.png", tmp_path / "out", *words) == 0
    assert json.loads((tmp_path / "r.json").read_text())["images"][0]["degradation"] == "grey + noise(0.05)"
    assert upscale(tiny_file, faces / "face0.png", tmp_path / "no", "--degradation", "fog(3)") == 2
    assert "fog" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.fixture
def enlarged(tmp_path):
    """A picture of 256x256 pixels that holds 24x24."""
    face = read_image(ROOT / "samples" / "eileen_collins.jpg")[None, :, 80:336, 128:384]
    small = F.interpolate(face, (24, 24), mode="bicubic", antialias=True)
    save_image(F.interpolate(small, (256, 256), mode="bicubic")[0].clamp(0, 1), tmp_path / "in" / "large.png")
    return tmp_path / "in" / "large.png"


def test_an_enlarged_picture_is_matched_at_its_effective_size_or_at_a_given_one(tiny_file, enlarged, tmp_path, capsys):
    def row(*words):
        report = tmp_path / "r.json"
        assert upscale(tiny_file, enlarged, tmp_path / "out", "--report", report, *words) == 0
        return json.loads(report.read_text())["images"][0]

    found = row()
    assert found["lr_size"] in (20, 24, 32)  # estimation.SIZES around it
    assert (found["input_size"], found["estimate"]["size"]) == (256, found["lr_size"])
    assert found["estimate"]["summary"].startswith(f"holds {found['lr_size']} of 256 pixels")
    assert f"large.png: matched at {found['lr_size']} of 256 pixels, L2 " in capsys.readouterr().out
    assert row() == found, "there already"
    chosen = row("--lr-size", 12)
    assert (chosen["lr_size"], chosen["estimate"]) == (12, found["estimate"])
    assert chosen["recipe"] != found["recipe"]


def test_a_tiny_picture_is_matched_as_it_is(tiny_file, faces, tmp_path, capsys):
    assert upscale(tiny_file, faces / "face0.png", tmp_path / "out", "--report", tmp_path / "r.json") == 0
    (row,) = json.loads((tmp_path / "r.json").read_text())["images"]
    assert (row["lr_size"], row["input_size"], row["estimate"]) == (8, 8, None)
    assert "matched at" not in capsys.readouterr().out


def test_the_input_beside_a_result_is_the_given_picture(tiny_file, enlarged, tmp_path, monkeypatch):
    shown, original = [], upscale_command.side_by_side
    monkeypatch.setattr(upscale_command, "side_by_side", lambda panels: shown.append(panels) or original(panels))
    assert upscale(tiny_file, enlarged, tmp_path / "out", "--side-by-side") == 0
    (panels,) = shown
    assert torch.equal(panels["input"], read_image(enlarged))


@pytest.mark.parametrize("size", ["0", "big", "-3"])
def test_a_size_that_is_none(tiny_file, faces, tmp_path, capsys, size):
    with pytest.raises(SystemExit):
        upscale(tiny_file, faces, tmp_path / "out", "--lr-size", size)
    assert "neither auto nor a number from 1 up" in capsys.readouterr().err


def test_fit_trains_an_encoder(tiny_file, tmp_path, capsys):
    out = tmp_path / "fit.safetensors"
    words = ["--samples", 500, "--encoder", 100, "-o", out]
    assert run("fit", tiny_file, *words) == 0
    assert "an encoder trained on 100 images" in capsys.readouterr().out
    assert LatentGaussian.load(out).encoder is not None
    assert (tmp_path / "fit.encoder.safetensors").is_file()
    assert not list(tmp_path.glob("*.training"))


def test_ctrl_c_keeps_what_is_finished_and_nothing_half(tiny_file, faces, tmp_path, monkeypatch, capsys):
    original, calls = upscale_command.upscale, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(upscale_command, "upscale", interrupted)
    out = tmp_path / "out"
    assert upscale(tiny_file, faces, out, "--report", out / "report.json") == 130
    assert {p.name for p in out.iterdir()} == {"face0.png", "report.json"}
    assert len(json.loads((out / "report.json").read_text())["images"]) == 1
    assert "stopped" in capsys.readouterr().err


def test_a_bad_input_is_told_in_one_line_and_the_others_are_done(tiny_file, faces, tmp_path, capsys):
    save_image(torch.rand(3, 8, 9), faces / "a_wide.png")
    assert upscale(tiny_file, faces, tmp_path / "out") == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"face0.png", "face1.png"}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "a_wide.png: " in line and "step" not in line]
    assert line.startswith(f"{faces / 'a_wide.png'}: The target is 9x8; tiny makes 32x32. Accepted: a square.")


def test_results_never_land_on_an_input_or_on_each_other(tiny_file, faces, tmp_path, capsys):
    before = (faces / "face0.png").read_bytes()
    assert upscale(tiny_file, faces, faces) == 2
    assert (faces / "face0.png").read_bytes() == before
    save_image(torch.rand(3, 8, 8), tmp_path / "other" / "face0.png")
    words = ["upscale", faces / "face0.png", tmp_path / "other" / "face0.png", "-o", tmp_path / "out"]
    assert run(*words, "--generator", tiny_file) == 2
    assert "the path of another result or an input" in capsys.readouterr().err


def test_an_empty_folder(tiny_file, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    assert upscale(tiny_file, tmp_path / "none", tmp_path / "out") == 2
    assert "holds no pictures" in capsys.readouterr().err


def test_sample(tiny_file, tmp_path, capsys):
    words = ["sample", "-o", tmp_path, "--seed", 7, "--count", 2, "--truncation", 0.5, "--generator", tiny_file]
    assert run(*words, "--device", "cpu") == 0
    first, second = read_image(tmp_path / "seed7.png"), read_image(tmp_path / "seed8.png")
    assert first.shape == (3, 32, 32)
    assert not torch.equal(first, second)
    assert run("sample", "-o", tmp_path, "--count", 0, "--generator", tiny_file) == 2
    assert "count is 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "size"), [(["--factor", 2], (4, 4)), (["--size", 3], (3, 3)), (["--size", "5x2"], (2, 5))]
)
def test_downsample(faces, tmp_path, words, size):
    assert run("downsample", faces / "face0.png", "-o", tmp_path / "small.png", *words) == 0
    assert read_image(tmp_path / "small.png").shape == (3, *size)


def test_downsample_beyond_the_picture(faces, tmp_path, capsys):
    assert run("downsample", faces / "face0.png", "-o", tmp_path / "small.png", "--factor", 9) == 2
    assert "The image is 8x8, too small to be downscaled by factor 9" in capsys.readouterr().err
    assert not (tmp_path / "small.png").exists()


def test_fit_is_kept_where_the_search_looks(tiny_file, capsys):
    assert run("fit", tiny_file, "--samples", 300, "--device", "cpu") == 0
    (path,) = tiny_file.parent.glob("*.gaussian.safetensors")
    assert str(path) in capsys.readouterr().out


def test_inspect(tiny_file, capsys):
    assert run("inspect", tiny_file) == 0
    table = capsys.readouterr().out
    assert "mobilestylegan" in table
    assert "32x32" in table
    assert run("inspect", tiny_file, "--json") == 0
    metadata = json.loads(capsys.readouterr().out)
    assert metadata["w_dim"] == 16
    assert metadata["noise maps"] == 5
    assert metadata["format"] == "safetensors"


def test_convert_a_pickle_and_search_it_with_a_class_and_a_fit(tmp_path, capsys):
    """From a conditional network's pickle to faces of one class, with the published code's kind of fit."""
    source, output = save_nvlabs(tmp_path / "g.pkl", ZOO["stylegan2 conditional"]().tensors), tmp_path / "g.safetensors"
    assert run("convert", source, output) == 0
    assert str(output) in capsys.readouterr().out
    for label, folder in ((1, "one"), (2, "two")):
        words = ["-o", tmp_path / folder, "--generator", output, "--class", label, "--device", "cpu"]
        assert run("sample", *words) == 0
    one, two = (read_image(tmp_path / folder / "seed0.png") for folder in ("one", "two"))
    assert not torch.equal(one, two)
    assert run("fit", output, "--samples", 100, "--class", 1, "-o", tmp_path / "fit.safetensors") == 0
    torch.save({"mean": torch.zeros(64), "std": torch.ones(64)}, tmp_path / "gaussian_fit.pt")
    save_image(torch.rand(3, 8, 8), tmp_path / "face.png")
    for fit in ("fit.safetensors", "gaussian_fit.pt"):
        words = ["--generator", output, "--gaussian", tmp_path / fit, "--steps", 1, "--device", "cpu"]
        assert run("upscale", tmp_path / "face.png", "-o", tmp_path / "out", *words) == 0
    assert run("sample", "-o", tmp_path / "out", "--generator", output, "--class", 9) == 2
    assert "The class is 9, and this generator has 5 classes." in capsys.readouterr().err


def test_a_pickle_that_asks_for_code_is_named_and_not_run(tmp_path, capsys):
    (tmp_path / "evil.pkl").write_bytes(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.")
    for command in (["inspect"], ["convert"]):
        more = [tmp_path / "out.safetensors"] if command == ["convert"] else []
        assert run(*command, tmp_path / "evil.pkl", *more) == 2
        assert "asks to run posix.system. Nothing was run." in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_inspect_of_another_model(tmp_path, capsys):
    torch.save({"decoder.weight": torch.zeros(1)}, tmp_path / "vae.pt")
    assert run("inspect", tmp_path / "vae.pt") == 2
    assert "belong to no generator family" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in (c.NAME for c in cli.COMMANDS))])
def test_help(words, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 0
    assert "usage: python -m pulse_core" in capsys.readouterr().out


def test_a_full_disk_is_an_ordinary_error(tiny_file, faces, tmp_path, monkeypatch, capsys):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(images, "whole_file", full)
    assert upscale(tiny_file, faces, tmp_path / "out") == 1
    assert "No space left on device" in capsys.readouterr().err


def test_the_module_runs_from_a_shell():
    result = subprocess.run(
        [sys.executable, "-m", "pulse_core", "downsample", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--factor" in result.stdout

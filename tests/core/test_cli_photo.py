"""`photo`: photographs in, the same photographs with restored faces out, and nothing done twice."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import ROOT
from PIL import Image

from pulse_core import cli, photographs
from pulse_core.faces.finding import FindSettings
from pulse_core.faces.pasting import PasteSettings
from pulse_core.faces.warping import resize
from pulse_core.latent_search.config import SearchConfig
from pulse_core.pictures.images import NOTICE, read_image, read_metadata, save_image


@pytest.fixture(scope="module")
def eileen():
    return resize(read_image(ROOT / "samples" / "eileen_collins.jpg"), 256, 256).clamp(0, 1)


@pytest.fixture
def album(tmp_path, eileen):
    """A folder with a photograph of one face, one of two, and one of none."""
    folder = tmp_path / "album"
    save_image(eileen, folder / "a.png")
    both = torch.full((3, 256, 400), 0.5)
    both[:, :, :256], both[:, :144, 256:] = eileen, resize(eileen, 144, 144).clamp(0, 1)
    save_image(both, folder / "b.png")
    save_image(torch.full((3, 90, 120), 0.4), folder / "none.png")
    return folder


@pytest.fixture
def photo(tiny_file, tmp_path):
    """photo(inputs, options) -> exit status; results go to tmp_path/out."""

    def run(*words):
        brief = ("--device", "cpu", "--steps", 2, "--fidelity", 0)
        given = [*words, "-o", tmp_path / "out", "--generator", tiny_file, *brief]
        return cli.main([str(word) for word in ("photo", *given)])

    return run


@pytest.fixture
def searches(monkeypatch):
    """The targets' sizes of all searches for a face."""
    made, original = [], photographs.search_targets

    def counted(targets, *rest, **options):
        for solution in original(targets, *rest, **options):
            made.append(targets[solution.index].lr_size)
            yield solution

    monkeypatch.setattr(photographs, "search_targets", counted)
    return made


def test_a_photograph_comes_back_with_its_faces_and_a_report(photo, album, tmp_path, searches, capsys):
    report = tmp_path / "out" / "report.json"
    assert photo(album / "a.png", "--report", report) == 0
    result = read_image(tmp_path / "out" / "a.png")
    before = read_image(album / "a.png")
    assert result.shape == before.shape
    assert torch.equal(result[:, 150:], before[:, 150:])
    assert not torch.equal(result, before)
    metadata = json.loads(report.read_text())
    assert metadata["notice"] == NOTICE
    (row,) = metadata["faces"]
    assert row["input"] == str(album / "a.png")
    assert read_image(tmp_path / "out" / row["file"]).shape == (3, 32, 32)
    assert 75 < row["side"] < 95
    assert row["lr_size"] == searches[0] == 32
    assert len(row["landmarks"]) == 5
    assert row["steps"] == 2
    assert len(row["generator_hash"]) == 64
    assert Image.open(tmp_path / "out" / "a.png").text["Comment"] == NOTICE
    assert NOTICE in capsys.readouterr().out


def test_a_second_run_does_only_what_is_missing(photo, album, tmp_path, searches):
    assert photo(album / "a.png", album / "b.png") == 0
    faces = len(searches)
    assert faces == 3
    out = tmp_path / "out"
    first = {path.name: read_image(path) for path in out.rglob("*.png")}
    report = tmp_path / "report.json"
    assert photo(album / "a.png", album / "b.png", "--report", report) == 0
    assert len(searches) == faces
    assert len(json.loads(report.read_text())["faces"]) == faces
    (out / "b.png").unlink()
    (out / "faces" / "b-2.png").unlink()
    assert photo(album / "a.png", album / "b.png") == 0
    assert len(searches) == faces + 1
    second = {path.name: read_image(path) for path in out.rglob("*.png")}
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("option", "again"), [(("--blend", 0.5), 0), (("--enlarge", 2), 0), (("--seed", 3), 1), (("--lr-size", 16), 1)]
)
def test_only_what_an_option_changes_is_done_again(photo, album, tmp_path, searches, option, again):
    assert photo(album / "a.png") == 0
    before = read_image(tmp_path / "out" / "a.png")
    assert photo(album / "a.png", *option) == 0
    assert len(searches) == 1 + again
    after = read_image(tmp_path / "out" / "a.png")
    assert after.shape != before.shape or not torch.equal(after, before)


def test_a_changed_photograph_of_the_same_name_is_done_again(photo, album, searches):
    assert photo(album / "a.png") == 0
    save_image(read_image(album / "a.png").flip(-1), album / "a.png")
    assert photo(album / "a.png") == 0
    assert len(searches) == 2


def test_a_stop_keeps_what_is_finished_and_the_next_run_goes_on(photo, album, tmp_path, monkeypatch, searches):
    counted = photographs.search_targets

    def stopped(*rest, **options):
        for solution in counted(*rest, **options):
            if len(searches) == 3:
                searches.pop()
                raise KeyboardInterrupt
            yield solution

    monkeypatch.setattr(photographs, "search_targets", stopped)
    assert photo(album / "a.png", album / "b.png", "--report", tmp_path / "r.json") == 130
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")) == [
        "a.png",
        "faces/a-1.png",
        "faces/b-1.png",
    ]
    assert [row["file"] for row in json.loads((tmp_path / "r.json").read_text())["faces"]] == ["faces/a-1.png"]
    monkeypatch.setattr(photographs, "search_targets", counted)
    assert photo(album / "a.png", album / "b.png", "--faces", 2) == 0
    assert len(searches) == 3


def test_faces_and_sizes_are_chosen(photo, album, searches, tmp_path):
    assert photo(album / "b.png", "--faces", "largest", "--lr-size", 20) == 0
    assert searches == [20]
    assert [path.name for path in (tmp_path / "out" / "faces").iterdir()] == ["b-1.png"]


def test_a_photograph_without_a_face_is_reported_and_the_others_are_done(photo, album, tmp_path, capsys):
    assert photo(album, "--faces", 1) == 2
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a.png", "b.png"}
    error = capsys.readouterr().err
    assert "none.png: No face was found in the picture (120x90) with a score of 0.9 or more." in error
    assert "lower score_threshold" in error


def test_a_photograph_without_a_face_may_pass(photo, album, tmp_path):
    assert photo(album / "none.png", "--no-face", "pass", "--enlarge", 2) == 0
    result = read_image(tmp_path / "out" / "none.png")
    assert float((result - resize(read_image(album / "none.png"), 180, 240)).abs().max()) < 1 / 255
    assert read_metadata(tmp_path / "out" / "none.png")["faces"] == []


def test_globs_and_unreadable_files(photo, album, tmp_path, capsys):
    (album / "broken.jpg").write_bytes(b"no picture")
    assert photo(album / "[ab]*.*", "--faces", 1) == 2
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a.png", "b.png"}
    assert "broken.jpg cannot be read as a picture" in capsys.readouterr().err
    assert photo(album / "*.gif") == 2
    assert "The glob" in capsys.readouterr().err


def test_a_missing_file_fails_before_any_work(photo, album, tmp_path, capsys):
    assert photo(album / "a.png", album / "no.png") == 2
    assert "no.png does not exist." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["grey", "rgba", "16-bit", "rotated by EXIF"])
def test_unusual_files(photo, tmp_path, eileen, kind, searches):
    path = tmp_path / "in.png"
    save_image(eileen, path)
    image = Image.open(path)
    if kind == "rotated by EXIF":
        path = tmp_path / "in.jpg"
        exif = image.getexif()
        exif[0x0112] = 6  # to be turned clockwise for showing
        image.rotate(90).save(path, exif=exif, quality=95)
    elif kind == "16-bit":
        Image.fromarray((eileen.mean(0) * 65535).numpy().astype("uint16")).save(path)
    else:
        image.convert({"grey": "L", "rgba": "RGBA"}[kind]).save(path)
    assert photo(path) == 0
    assert searches == [32]
    upright = read_image(tmp_path / "out" / "in.png")
    assert float((upright - eileen)[:, 150:].mean(0).abs().mean()) < 0.03  # in grey, whatever the kind


@pytest.mark.parametrize("words", [("--faces", "some"), ("--faces", "-1"), ("--lr-size", "0"), ("--lr-size", "big")])
def test_words_that_are_none(photo, album, words, capsys):
    with pytest.raises(SystemExit):
        photo(album, *words)
    assert "or a number from 1 up" in capsys.readouterr().err


def test_the_colours_meaning_is_kept(photo, tmp_path, eileen):
    profile = b"\0" * 16 + b"RGB XYZ " + b"\0" * 104
    save_image(eileen, tmp_path / "in.png", profile=profile)
    assert photo(tmp_path / "in.png") == 0
    assert Image.open(tmp_path / "out" / "in.png").info["icc_profile"] == profile


def test_the_library_does_the_same(tiny, tiny_fit, eileen):
    restored = photographs.restore(
        eileen, tiny, tiny_fit, SearchConfig(steps=2, solutions=2), pasting=PasteSettings(enlarge=2.0), lr_size=16
    )
    assert restored.picture.shape == (3, 512, 512)
    (solution,) = restored.solutions
    assert solution.downscaled.shape == (3, 16, 16)
    assert bool((restored.invented > 0).any())
    with pytest.raises(ValueError, match="No face was found"):
        photographs.restore(torch.zeros(3, 64, 64), tiny, tiny_fit, finding=FindSettings(score_threshold=0.95))


def test_the_best_of_several_solutions_is_pasted(tiny, tiny_fit, eileen):
    config = SearchConfig(steps=2, solutions=3)
    (best,) = photographs.restore(eileen, tiny, tiny_fit, config, lr_size=16).solutions
    alone = [
        photographs.restore(eileen, tiny, tiny_fit, SearchConfig(steps=2), lr_size=16, seed=seed).solutions[0]
        for seed in range(3)
    ]
    assert best.score == min(solution.score for solution in alone)


def test_a_store_is_given_each_face_and_asked_for_it(tiny, tiny_fit, eileen):
    calls = []

    class Store(photographs.FaceStore):
        def has(self, number, target):
            calls.append("has")
            return False

        def put(self, number, target, solution):
            calls.append("put")
            super().put(number, target, solution)

        def image(self, number):
            calls.append("image")
            return torch.zeros_like(super().image(number))

    config = SearchConfig(steps=1)
    blank = photographs.restore(eileen, tiny, tiny_fit, config, store=Store())
    assert calls == ["has", "put", "image"]
    usual = photographs.restore(eileen, tiny, tiny_fit, config)
    assert float(blank.picture.mean()) < float(usual.picture.mean())
    assert torch.equal(blank.solutions[0].image, usual.solutions[0].image)


def test_faces_of_one_size_are_searched_together_each_as_alone(tiny, tiny_fit, album):
    """Each has a degradation of its own."""
    photo, batches = read_image(album / "b.png"), []
    config = SearchConfig(steps=3)
    alone = photographs.restore(photo, tiny, tiny_fit, config, lr_size=16)
    together = photographs.restore(
        photo,
        tiny,
        tiny_fit,
        SearchConfig(steps=3, batch_size=2),
        lr_size=16,
        on_step=lambda state: batches.append(len(state.jobs)),
    )
    assert set(batches) == {2}
    torch.testing.assert_close(together.picture, alone.picture, atol=1e-4, rtol=0)

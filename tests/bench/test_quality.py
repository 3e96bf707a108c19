"""The runner of the quality table, on a tiny generator and on cells made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bench.quality.__main__ import _already, cases
from bench.quality.measure import Case, measure
from bench.quality.rows import BICUBIC, EXACT, MAIN, ROWS, SHORT, STEPS, settings
from bench.quality.sheets import write_sheets
from bench.quality.table import write_table
from bench.quality.targets import SPOILED, Target, degradation, faces, observe
from pulse_core.degradations.bicubic import downsample
from pulse_core.images import save_image
from pulse_core.sampling import sample


@pytest.fixture(scope="module")
def target(tiny):
    image, _ = next(sample(tiny, [5]))
    return Target("face 1", "generated", image, image.shape[-1])


def cell(row, l2, **others):
    facts = {"target": "a", "lr": 32, "spoiling": "clean", "row": row, "seed": 0, "kind": "generated"}
    scores = {"l2": l2, "clean_l2": l2, "distance": 1.0, "niqe": 4.0, "true_niqe": 3.5, "identity": 0.5}
    return {**facts, **scores, "seconds": 40.0, "peak_mb": 900.0, **others}


def test_the_targets_are_faces_of_their_own(tiny):
    photographs, generated = list(faces(tiny, 2))[:2], list(faces(tiny, 2))[2:]
    assert [target.kind for target in photographs] == ["photograph"] * 2
    assert [target.name for target in generated] == ["face 1", "face 2"]
    assert not torch.equal(generated[0].truth, generated[1].truth)
    assert all(target.truth.shape == (3, 32, 32) for target in (*photographs, *generated))


@pytest.mark.parametrize("spoiling", ["clean", *SPOILED])
def test_what_the_search_is_given_is_an_8_bit_picture(target, spoiling):
    given, clean = observe(target, spoiling, 16)
    assert torch.equal(clean, (downsample(target.truth[None], size=(16, 16)).clamp(0, 1) * 255).round() / 255)
    assert (given * 255 - (given * 255).round()).abs().max() < 1e-3
    assert torch.equal(given, clean) == (spoiling == "clean")
    assert torch.equal(given, observe(target, spoiling, 16)[0])
    assert (degradation(spoiling, 16) is None) == (spoiling == "clean")


def test_a_case_is_searched_and_scored(tiny, tiny_fit, target, monkeypatch):
    monkeypatch.setattr("bench.quality.measure.niqe", lambda image: 4.0)  # 32 pixels are too few for it
    config = replace(ROWS["recommended"], steps=20)
    found = list(measure(Case("face 1", 8, "clean", "recommended", 0), target, config, tiny, tiny_fit, None))
    assert [scores["row"] for scores, _ in found] == ["recommended", EXACT]
    (searched, picture), (exact, corrected) = found
    assert searched["l2"] == exact["l2"] == pytest.approx(searched["clean_l2"], rel=0.05)
    assert exact["clean_l2"] < searched["clean_l2"] / 10
    assert not torch.equal(picture, corrected)
    ((enlarged, _),) = measure(Case("face 1", 8, "clean", BICUBIC, 0), target, None, tiny, tiny_fit, None)
    assert "l2" not in enlarged


def test_the_telling_cases_come_first_and_none_twice(target):
    targets = [Target(name, "generated", target.truth, 32) for name in ("a", "b", "c", "d", "e")]
    every = list(cases(targets, quick=False))
    assert len({case.key for case in every}) == len(every)
    assert every[:6] == list(cases(targets, quick=True))
    assert {case.row for case in every} == set(ROWS) - {EXACT}
    assert {case.spoiling for case in every} == {"clean", *SPOILED}


def test_the_table_tells_means_intervals_and_shares(tmp_path):
    cells = [cell("published", l2, target=str(l2)) for l2 in (0.0005, 0.0015, 0.004)]
    cells += [cell("recommended", 0.0001), cell(BICUBIC, 0.0, identity=None)]
    del cells[-1]["l2"]
    write_table(tmp_path / "QUALITY.md", cells)
    text = (tmp_path / "QUALITY.md").read_text()
    spread = 1.96 * math.sqrt(sum((x - 200) ** 2 for x in (50, 150, 400)) / 2) / math.sqrt(3)
    (published,) = [line for line in text.splitlines() if line.startswith("| published")]
    assert published.startswith(f"| published | 3 | 67% | 33% | 200 ± {spread:.0f} | 1.00 ± 0.00 |")
    assert "| recommended | 1 | 100% | 100% | 10 |" in text
    assert "invented" in text
    assert "Spread" not in text


def test_the_table_tells_how_far_seeds_are_apart(tmp_path):
    cells = [cell("published", 0.0005), *(cell("published", 0.0005, seed=1, apart=apart) for apart in (10.0, 14.0))]
    write_table(tmp_path / "QUALITY.md", cells)
    assert "| published | 2 | 12.0 ± 3.9 |" in (tmp_path / "QUALITY.md").read_text()


def test_a_short_search_is_not_taken_twice():
    case = Case("a", 32, "clean", SHORT, 0)
    key = replace(case, row="recommended").key
    same = _already(case, {key: cell("recommended", 0.0005, steps=STEPS, key=key, settings="other")})
    assert (same["row"], same["key"], same["l2"]) == (SHORT, case.key, 0.0005)
    assert same["settings"] == settings(SHORT) != settings("recommended")
    assert _already(case, {key: cell("recommended", 0.0005, steps=STEPS + 1)}) is None
    assert _already(replace(case, row="shell"), {key: cell("recommended", 0.0005, steps=STEPS)}) is None
    assert _already(case, {}) is None


def test_sheets_show_what_is_there(tmp_path, target):
    for row in (BICUBIC, *MAIN):
        save_image(torch.rand(3, 256, 256), tmp_path / f"face 1|8|clean|{row}|0.png")
    big = Target("face 1", "generated", torch.rand(3, 256, 256), 256)
    write_sheets(tmp_path / "sheets", tmp_path, [big], lr=8)
    assert (tmp_path / "sheets" / "faces_1.jpg").is_file()
    assert not (tmp_path / "sheets" / "spoiled.jpg").exists()

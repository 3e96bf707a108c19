"""The quality table, with a tiny generator and with invented cells."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from bench.quality import __main__ as quality
from bench.quality.cases import QUICK, cases
from bench.quality.measure import Case, measure, worst
from bench.quality.rows import BICUBIC, EARLIER, MAIN, ROWS, settings
from bench.quality.sheets import write_full, write_sheets
from bench.quality.table import write_table
from bench.quality.targets import (
    GENERATED,
    HELD_OUT,
    HELD_OUT_PORTRAIT,
    INPUT_DEGRADATIONS,
    PHOTOGRAPH,
    PORTRAIT,
    Target,
    degradation,
    degraded_and_clean,
    faces,
)
from pulse_core.degradations.bicubic import downsample
from pulse_core.latents.sampling import sample
from pulse_core.pictures.images import save_image


@pytest.fixture(scope="module")
def target(tiny):
    image, _ = next(sample(tiny, [5]))
    return Target("face 1", "generated", image, image.shape[-1])


def cell(row, l2, **others):
    metadata = {"target": "a", "lr": 32, "spoiling": "clean", "row": row, "seed": 0, "kind": "generated"}
    scores = {"l2": l2, "clean_l2": l2, "distance": 1.0, "niqe": 4.0, "true_niqe": 3.5, "identity": 0.5}
    return {**metadata, **scores, "seconds": 40.0, "peak_mb": 900.0, **others}


def test_targets_have_their_kinds_sizes_and_seeds(tiny):
    targets = list(faces(tiny, 2))
    by_kind = {
        kind: [target.name for target in targets if target.kind == kind] for kind in (PORTRAIT, HELD_OUT_PORTRAIT)
    }
    assert by_kind[PORTRAIT] == [f"p{number:02d}" for number in range(1, 13)]
    assert by_kind[HELD_OUT_PORTRAIT] == list(HELD_OUT)
    assert {target.side for target in targets[:16]} == {768}
    assert [target.kind for target in targets[16:]] == [PHOTOGRAPH] * 2 + [GENERATED] * 2
    assert not torch.equal(targets[-1].truth, targets[-2].truth)
    assert all(target.truth.shape == (3, 32, 32) for target in targets[16:])


@pytest.mark.parametrize("spoiling", ["clean", *INPUT_DEGRADATIONS])
def test_inputs_are_8_bit_pictures(target, spoiling):
    degraded, clean = degraded_and_clean(target, spoiling, 16)
    assert torch.equal(clean, (downsample(target.truth[None], size=(16, 16)).clamp(0, 1) * 255).round() / 255)
    assert (degraded * 255 - (degraded * 255).round()).abs().max() < 1e-3
    assert torch.equal(degraded, clean) == (spoiling == "clean")
    assert torch.equal(degraded, degraded_and_clean(target, spoiling, 16)[0])
    assert (degradation(spoiling, 16) is None) == (spoiling == "clean")


def test_a_case_is_searched_and_scored(tiny, tiny_fit, target):
    config = replace(ROWS["recommended"], steps=20)
    searched, picture = measure(Case("face 1", 8, "clean", "recommended", 0), target, config, tiny, tiny_fit, None)
    assert searched["row"] == "recommended"
    assert searched["settings"] == settings("recommended")
    assert searched["niqe"] is None  # 32 pixels are too few for NIQE and the classifier
    assert "natural" not in searched
    assert {"l2", "distance", "steps", "clean_l2", "worst", "seconds"} <= set(searched)
    assert picture.shape == (3, 32, 32)
    enlarged, _ = measure(Case("face 1", 8, "clean", BICUBIC, 0), target, None, tiny, tiny_fit, None)
    assert "l2" not in enlarged


def test_residuals_of_a_solution_are_stored(tiny, tiny_fit, target, monkeypatch):
    class Found:
        image, search_l2, distance, steps = target.truth, 0.0, 1.0, 3
        residual_face, residual_all = 0.02, 0.04

    monkeypatch.setattr("bench.quality.measure.search", lambda *args, **kwargs: (Found(),))
    scores, _ = measure(Case("a", 8, "clean", "recommended", 0), target, ROWS["recommended"], tiny, tiny_fit, None)
    assert (scores["residual_face"], scores["residual_all"]) == (0.02, 0.04)


def test_the_worst_error_is_of_the_8_bit_picture():
    image = torch.full((3, 16, 16), 100.4 / 255)  # written as 100
    degraded = torch.full((1, 3, 4, 4), 100 / 255)
    degraded[0, 1, 2, 3] = 93 / 255
    assert worst(Case("a", 4, "clean", "", 0), image, degraded) == pytest.approx(7, abs=1e-3)
    assert worst(Case("a", 4, "mask", "", 0), image, degraded) == pytest.approx(0, abs=1e-3)  # hidden there
    assert worst(Case("a", 4, "noise 25", "", 0), image, degraded) is None


def test_quick_cases_come_first_without_duplicates(target):
    kinds = [PORTRAIT] * 12 + [HELD_OUT_PORTRAIT] * 4 + [PHOTOGRAPH] + [GENERATED] * 3
    targets = [Target(f"p{number:02d}", kind, target.truth, 32) for number, kind in enumerate(kinds, 1)]
    every = list(cases(targets, quick=False))
    assert len({case.key for case in every}) == len(every)
    quick = list(cases(targets, quick=True))
    assert every[: len(quick)] == quick
    assert {case.target for case in quick} == set(QUICK)
    assert {case.row for case in every} == set(ROWS)
    assert {case.spoiling for case in every} == {"clean", *INPUT_DEGRADATIONS}
    portraits = {(case.target, case.lr) for case in every if case.spoiling == "clean" and case.row == "recommended"}
    assert {(name, lr) for name in (f"p{number:02d}" for number in range(1, 17)) for lr in (16, 32, 64)} <= portraits


def test_cells_of_the_published_search_do_not_become_stale(monkeypatch):
    before = settings("published"), settings("recommended")
    monkeypatch.setitem(ROWS, "published", replace(ROWS["published"], steps=7))
    monkeypatch.setitem(ROWS, "recommended", replace(ROWS["recommended"], steps=7))
    assert settings("published") == before[0]
    assert settings("recommended") != before[1]


def test_the_table_has_means_intervals_and_shares(tmp_path):
    cells = [cell("published", l2, target=str(l2)) for l2 in (0.0005, 0.0015, 0.004)]
    cells += [cell("recommended", 0.0001), cell(BICUBIC, 0.0, identity=None)]
    del cells[-1]["l2"]
    write_table(tmp_path / "QUALITY.md", cells)
    text = (tmp_path / "QUALITY.md").read_text()
    spread = 1.96 * math.sqrt(sum((x - 200) ** 2 for x in (50, 150, 400)) / 2) / math.sqrt(3)
    (published,) = [line for line in text.splitlines() if line.startswith("| published")]
    assert published.startswith(f"| published | 3 | 67% | 33% | 200 ± {spread:.0f} | - | - | - / - | 1.00 ± 0.00 |")
    assert "| recommended | 1 | 100% | 100% | 10 |" in text
    assert "| (truth) | 4 | - | - | - | - | - | - | - | 3.50 ± 0.00 |" in text
    assert "invented" in text
    assert "Spread" not in text
    assert "Blind" not in text


def test_the_table_has_held_out_portraits_and_all_scores(tmp_path):
    random = torch.Generator().manual_seed(0)

    def features():
        return " ".join(f"{x:.3f}" for x in torch.randn(4, generator=random).tolist())

    scores = {"residual_face": 2 / 255, "residual_all": 0.05, "natural": 0.4, "true_natural": 0.9}
    cells = [
        cell("recommended", 1e-4, target=f"p{i}", kind=PORTRAIT, worst=worst, **scores)
        | {"features": features(), "true_features": features()}
        for i, worst in enumerate((0.5, 1.0, 1.5, 3.0))
    ]
    cells += [cell("recommended", 1e-4, kind=HELD_OUT_PORTRAIT), cell(EARLIER, 1e-4, target="p0", kind=PORTRAIT)]
    preference = {"rows": [EARLIER, "recommended"], "lr": 32, "truth": True, "who": "a reader", "key": "0"}
    write_table(tmp_path / "QUALITY.md", cells, [preference | {"votes": {EARLIER: 1, "recommended": 2, "=": 1}}])
    text = (tmp_path / "QUALITY.md").read_text()
    assert "## Portrait, 32x32\n" in text
    assert "## Portrait kept apart, 32x32\n" in text
    earlier, recommended = [line for line in text.splitlines() if line.startswith(("| e", "| rec"))][:2]
    assert earlier.startswith(f"| {EARLIER} | 1 |")
    assert earlier.count("|") == recommended.count("|")
    assert "| 1.5 ± 1.1 | 2/4 | 2.0 ± 0.0 / 12.8 ± 0.0 |" in recommended
    assert "| 0.40 ± 0.00 |" in recommended
    assert "| 62% |" in recommended
    assert "| 32 | recommended | earlier default | 4 | 62% | 1 | yes | a reader |" in text


def test_the_table_has_the_difference_between_seeds(tmp_path):
    cells = [cell("published", 0.0005), *(cell("published", 0.0005, seed=1, apart=apart) for apart in (10.0, 14.0))]
    write_table(tmp_path / "QUALITY.md", cells)
    assert "| published | 2 | 12.0 ± 3.9 |" in (tmp_path / "QUALITY.md").read_text()


def test_options_select_cases(monkeypatch):
    monkeypatch.setattr("sys.argv", ["quality", "--targets", "p01", "--sizes", "16", "--clean", "--only", "published"])
    args = quality.arguments()
    case = Case("p01", 16, "clean", "published", 0)
    assert quality._is_selected(case, args)
    others = ({"target": "p02"}, {"lr": 32}, {"spoiling": "mask"}, {"row": "recommended"})
    assert not any(quality._is_selected(replace(case, **other), args) for other in others)
    assert args.json.name == "QUALITY.json"


def test_sheets_without_results_are_not_written(tmp_path):
    for row in MAIN:
        save_image(torch.rand(3, 64, 64), tmp_path / f"face 1|8|clean|{row}|0.png")
    big = Target("face 1", GENERATED, torch.rand(3, 64, 64), 64)
    other = replace(big, name="p01", kind=PORTRAIT)
    write_sheets(tmp_path / "sheets", tmp_path, [big], [8])
    write_sheets(tmp_path / "sheets", tmp_path, [other], [8])
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["faces_1.jpg"]
    write_full(tmp_path / "full", tmp_path, [big, other], [8])
    with Image.open(tmp_path / "full" / "face 1_8.jpg") as sheet:
        assert sheet.size[0] == 5 * 1024
    assert len(list((tmp_path / "full").iterdir())) == 1


def test_the_command_runs_each_search_once_and_writes_everything(tiny, tiny_fit, tmp_path, monkeypatch, capsys):
    made = []

    def searched(case, *args):
        made.append(case.key)
        scores = cell(case.row, 1e-4, target=case.target, lr=case.lr, seed=case.seed, kind=PORTRAIT)
        scores |= {"key": case.key, "settings": settings(case.row), "spoiling": case.spoiling}
        return scores, torch.rand(3, 32, 32)

    target = Target("p01", PORTRAIT, torch.rand(3, 64, 64), 64)
    (tmp_path / "earlier.json").write_text("{}")
    monkeypatch.setattr(quality, "HERE", tmp_path)
    monkeypatch.setattr(quality, "CACHE", tmp_path / "out" / "quality")
    monkeypatch.setattr(quality, "EARLIER_CELLS", tmp_path / "earlier.json")
    monkeypatch.setattr(quality, "PREFERENCES", tmp_path / "none.json")
    monkeypatch.setattr(quality, "ASSETS", tmp_path)
    monkeypatch.setattr(quality.Identity, "load", staticmethod(lambda: None))
    monkeypatch.setattr(quality, "load_with_fit", lambda name: (tiny, tiny_fit))
    monkeypatch.setattr(quality, "faces", lambda generator, generated: iter([target]))
    monkeypatch.setattr(quality, "measure", searched)
    arguments = ["quality", "--sizes", "16", "32", "--clean", "--full"]
    for _ in range(2):
        monkeypatch.setattr("sys.argv", arguments)
        quality.main()
    rows = {16: (BICUBIC, *MAIN), 32: ROWS}
    assert sorted(made) == sorted(f"p01|{lr}|clean|{row}|0" for lr in rows for row in rows[lr])
    assert "## Portrait, 16x16" in (tmp_path / "QUALITY.md").read_text()
    names = {path.name for path in (tmp_path / "sheets").iterdir()}
    assert names == {"portraits_16_1.jpg", "portraits_32_1.jpg"}
    assert {path.name for path in (tmp_path / "out" / "sheets").iterdir()} == {"p01_16.jpg", "p01_32.jpg"}
    monkeypatch.setattr("sys.argv", ["quality", "--rescore"])
    monkeypatch.setattr(quality, "scores", lambda *args: {"natural": 0.7, "clean_l2": 9.0})
    quality.main()
    cells = json.loads((tmp_path / "QUALITY.json").read_text())
    assert {(found["natural"], found["clean_l2"]) for found in cells.values()} == {(0.7, 1e-4)}

"""Many solutions beside each other, and what saved pictures say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image


@pytest.fixture
def found(pack, generator, gaussian):
    """found(**inputs) -> targets, results and the report of a search for two images, three solutions each."""

    def run(**inputs):
        faces, _ = pack.run("PULSESampleFace", stylegan=generator, seed=20, count=2)
        (targets,) = pack.run("BicubicDownsample", image=faces, factor=4)
        wired = {"stylegan": generator, "image": targets, "gaussian": gaussian, "steps": 6, "solutions": 3}
        result, _, _, report, _ = pack.run("PULSESearch", **{**wired, "preview_every": 0, **inputs})
        return targets, result, report

    return run


def test_a_contact_sheet_of_everything(pack, found):
    _, result, report = found()
    for known in ("", report):
        (sheet,) = pack.run("PULSEContactSheet", image=result, side=64, report=known)
        assert sheet.shape[0] == 1
        assert sheet.shape[1] > 2 * 64
    (own,) = pack.run("PULSEContactSheet", image=result, side=64, captions="\n".join("abcdef"))
    assert not torch.equal(own, pack.run("PULSEContactSheet", image=result, side=64)[0])


def test_captions_show_rank_and_seed(pack, found):
    _, _, report = found()
    lines = pack.submodule("nodes.reports").captions(report, 6)
    rows = json.loads(report)["images"]
    assert [line.split()[0] for line in lines] == ["#1", "#2", "#3"] * 2
    for line, row in zip(lines, rows, strict=True):
        assert f"seed {row['seed']}" in line
        assert f"residual {row['residual_face']:.3f}" in line


def test_a_report_of_something_else_is_refused(pack, found):
    _, result, report = found()
    with pytest.raises(ValueError, match=r"The report is of 6 images, and 5 are connected"):
        pack.run("PULSEContactSheet", image=result[:5], report=report)
    with pytest.raises(ValueError, match="The report begins with 'hello'"):
        pack.run("PULSEContactSheet", image=result, report="hello")


def test_uncertainty_is_where_the_solutions_of_an_input_differ(pack, found, host):
    _, result, report = found()
    heat, mask = pack.run("PULSEUncertainty", image=result, accept="all", report=report, full_scale=0.5, picture=0.0)
    assert heat.shape == (2, 32, 32, 3)
    assert mask.shape == (2, 32, 32)
    expected = result[:3].var(0).mean(-1).sqrt() / 0.5
    torch.testing.assert_close(mask[0], expected.clamp(0, 1), atol=1e-5, rtol=0)
    assert host.texts[-1][1].startswith("1: 3 solutions, spread 0.")
    together, _ = pack.run("PULSEUncertainty", image=result, accept="all")
    assert len(together) == 1


def test_uncertainty_of_accepted_solutions_alone(pack, found):
    _, result, report = found()
    rows = json.loads(report)
    for row, state in zip(rows["images"], [True, True, False, True, True, True], strict=True):
        row["converged"] = state
    _, mask = pack.run("PULSEUncertainty", image=result, report=json.dumps(rows), full_scale=0.5)
    torch.testing.assert_close(mask[0], (result[:2].var(0).mean(-1).sqrt() / 0.5).clamp(0, 1), atol=1e-5, rtol=0)
    rows["images"][0]["converged"] = False
    with pytest.raises(ValueError, match="There are 1 solutions to compare"):
        pack.run("PULSEUncertainty", image=result, report=json.dumps(rows))


def test_a_comparison_for_each_result(pack, found):
    targets, result, _ = found()
    (sheets,) = pack.run("PULSECompare", image=targets, result=result, side=64)
    assert sheets.shape[:2] == (6, 64 + 80)
    (degradation,) = pack.run("PULSEDegradation", kind="grey")
    (grey,) = pack.run("PULSECompare", image=targets, result=result, side=64, degradation=degradation)
    last = grey[0, 60:90, -60:-20]
    assert (last.amax(-1) - last.amin(-1)).max() < 1e-3, "a grey input has no coloured rest"
    with pytest.raises(ValueError, match="5 results for 2 inputs"):
        pack.run("PULSECompare", image=targets, result=result[:5])


def test_the_hosts_own_pictures_say_how_they_were_made(pack, found):
    _, _, report = found()
    told = pack.extra_pnginfo["pulse"]["PULSESearch"]
    assert json.loads(json.dumps(told)) == json.loads(report)
    assert told["settings"]["steps"] == 6
    assert {"generator", "generator_hash", "notice"} <= set(told)


def test_each_saved_picture_says_how_it_was_made(pack, found, host, models):
    _, result, report = found()
    pack.extra_pnginfo["workflow"] = {"nodes": []}
    pack.run("PULSESaveImage", image=result, report=report)
    files = sorted((models.parent / "output" / "PULSE").glob("face_*.png"))
    assert len(files) == 6
    for file, row in zip(files, json.loads(report)["images"], strict=True):
        with Image.open(file) as picture:
            text = picture.text
        metadata = json.loads(text["pulse"])
        assert {**row, "generator": "tiny"}.items() <= metadata.items()
        assert metadata["settings"]["solutions"] == 3
        assert "does not exist" in text["Comment"]
        assert (text["workflow"], text["prompt"]) == ('{"nodes": []}', "{}")


def test_pictures_are_silent_where_the_user_wants_it(pack, found, host, models):
    _, result, report = found()
    host.args.disable_metadata = True
    pack.run("PULSESaveImage", image=result[:6], report=report, filename_prefix="silent")
    with Image.open(next(Path(models.parent / "output").glob("silent_*.png"))) as picture:
        assert set(picture.text) == {"Comment"}, "that nobody is shown is said all the same"


def test_memory_is_freed_but_for_the_generator(pack, found, generator, host, monkeypatch):
    full = [torch.OutOfMemoryError("CUDA out of memory.")]
    network = type(generator.synthesis)
    render = network.render

    def once(self, ws, noise):
        if full and ws.requires_grad and not ws.is_meta:  # meta: an estimate
            raise full.pop()
        return render(self, ws, noise)

    monkeypatch.setattr(network, "render", once)
    _, result, _ = found(batch_size=6)
    assert len(result) == 6
    assert host.freed == [[pack.submodule("nodes.host").patcher_of(generator)]]


def test_the_node_shows_its_step_and_its_result(pack, found, host):
    _, _, report = found()
    texts = [text for node, text, _ in host.texts if node == "PULSESearch"]
    assert texts[0].startswith("1 of 6, step 0 of 6, L2 0.")
    last = texts[-1].splitlines()
    assert last[0].endswith(f"mean residual {last[0].split()[-1]}")
    assert " of 6 found in " in last[0]
    assert len(last) == 1 + 6
    for line, row in zip(last[1:], json.loads(report)["images"], strict=True):
        assert row["summary"] in line
        assert line.endswith(f"(6 steps, seed {row['seed']}, 8x8)")

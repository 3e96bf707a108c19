"""Nodes on a shared server: the interrupt button, memory, texts, and other packs' torch defaults."""

from __future__ import annotations

import json
import os
import random
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

FRAMES = 4
FUZZ = max(300, int(os.environ.get("PULSE_FUZZ_CASES", "0")))
POINTS = "8,10 18,10 13,15 9,20 17,20"


@pytest.fixture
def inputs(pack, generator, gaussian) -> dict[str, dict[str, Any]]:
    """What each node that works on several images or latents is given."""
    image, latent = pack.run("PULSESampleFace", stylegan=generator, seed=1, count=FRAMES)
    (small,) = pack.run("BicubicDownsample", image=image, factor=4)
    (blur,) = pack.run("PULSEDegradation", kind="motion", amount=4.0)
    aligned, faces, _ = pack.run("PULSEAlignFaces", image=image, size=32, landmarks=POINTS)
    return {
        "BicubicDownsample": {"image": image, "mode": "size", "width": 5, "height": 7},
        "PULSEDegrade": {"image": image, "degradation": blur},
        "PULSEContactSheet": {"image": image, "side": 32},
        "PULSEUncertainty": {"image": image, "accept": "all"},
        "PULSECompare": {"image": small, "result": image, "side": 64},
        "PULSESaveImage": {"image": image},
        "PULSEAlignFaces": {"image": image, "size": 32, "landmarks": POINTS},
        "PULSEPasteFaces": {"image": image, "restored": aligned, "faces": faces},
        "PULSEEstimateDegradation": {"image": image},
        "PULSESampleFace": {"stylegan": generator, "seed": 3, "count": FRAMES},
        "PULSESynthesize": {"stylegan": generator, "latent": latent},
        "PULSEBlendLatents": {"latent_a": latent, "latent_b": latent, "frames": 2},
        "PULSESearch": {
            "stylegan": generator,
            "image": small[:1],
            "gaussian": gaussian,
            "steps": 3,
            "solutions": 2,
            "preview_every": 0,
        },
        "FitLatentGaussian": {"stylegan": generator, "samples": 9000},
    }


NODES = {  # how often each has to ask at least
    "BicubicDownsample": FRAMES,
    "PULSEDegrade": 2 * FRAMES,
    "PULSEContactSheet": 2 * FRAMES,
    "PULSEUncertainty": 2 * FRAMES,
    "PULSECompare": 3 * FRAMES,
    "PULSESaveImage": FRAMES,
    "PULSEAlignFaces": 4 * FRAMES,
    "PULSEPasteFaces": 2 * FRAMES,
    "PULSEEstimateDegradation": FRAMES,
    "PULSESampleFace": FRAMES,
    "PULSESynthesize": FRAMES,
    "PULSEBlendLatents": 0,  # its latents have no noise maps here; tests/core/test_limits.py has those
    "PULSESearch": 6,
    "FitLatentGaussian": 3,
}


@pytest.mark.parametrize("node", NODES)
def test_the_interrupt_button_works_in_every_loop(pack, host, inputs, node):
    host.checks = 0
    pack.run(node, **inputs[node])
    asked = host.checks
    assert asked >= NODES[node]
    if node == "FitLatentGaussian":
        inputs[node]["seed"] = 1  # the first one is cached
    for number in {1, asked // 2 + 1, asked} & set(range(1, asked + 1)):
        host.checks, host.interrupt_at_check = 0, number
        with pytest.raises(host.management.InterruptProcessingException):
            pack.run(node, **inputs[node])
    host.interrupt_at_check = -1


def test_one_picture_can_be_interrupted(pack, host, inputs):
    image = torch.rand(1, 120, 160, 3)
    host.checks = 0
    pack.run("PULSEAlignFaces", image=image, size=32, no_face="pass through", rotation="upright")
    asked = host.checks
    assert asked > 6
    host.checks, host.interrupt_at_check = 0, asked // 2
    with pytest.raises(host.management.InterruptProcessingException):
        pack.run("PULSEAlignFaces", image=image, size=32, no_face="pass through", rotation="upright")
    host.interrupt_at_check = -1


def test_what_would_take_too_much_memory_is_told(pack, generator, inputs, monkeypatch):
    wide, tiny = torch.zeros(1, 1, 4096, 3), torch.zeros(200, 4, 4, 3)
    with pytest.raises(ValueError, match=r"A sheet of .* GiB"):
        pack.run("PULSECompare", image=wide, result=wide, side=1024)
    with pytest.raises(ValueError, match=r"200 pictures of 1024 a side .* GiB"):
        pack.run("PULSEContactSheet", image=tiny, side=1024)
    with pytest.raises(ValueError, match=r"enlarged to .* GiB"):
        pack.run("PULSEAlignFaces", image=torch.zeros(1, 1, 1, 3).expand(1, 4096, 4096, 3), size=32, min_face_size=1)
    monkeypatch.setenv("PULSE_MAX_BYTES", "30000")
    for node, change in (
        ("PULSESearch", {"solutions": 1000}),
        ("PULSESampleFace", {"count": 200}),
        ("PULSEBlendLatents", {"frames": 4096}),
        ("PULSESynthesize", {}),
        ("PULSEAlignFaces", {"size": 64}),
        ("PULSEPasteFaces", {"enlarge": 16.0}),
        ("PULSEContactSheet", {}),
        ("PULSECompare", {}),
    ):
        with pytest.raises(ValueError, match=r"would take .* GiB"):
            pack.run(node, **{**inputs[node], **change})
    for node in ("BicubicDownsample", "PULSEUncertainty", "PULSEPasteFaces"):
        pack.run(node, **inputs[node])  # no more than what the host holds already


# Texts

ROW = {"image": 0, "seed": 1, "converged": True, "residual_face": 0.1}


def report(*rows: Any, **others: Any) -> str:
    return json.dumps({"images": list(rows), **others})


BAD_REPORTS = {
    "no JSON": "hello",
    "cut": report(ROW, ROW)[:-5],
    "deep": "[" * 100_000,
    "a list": "[1, 2]",
    "no rows": "{}",
    "rows of text": report("a", "b"),
    "rows that are none": json.dumps({"images": 7}),
    "another number": report(ROW),
    "a list for an image": report({**ROW, "image": [1]}, ROW),
    "text for a residual": report({**ROW, "residual_face": "x"}, ROW),
    "no number": report({**ROW, "residual_face": float("nan")}, ROW),
    "lines for a seed": report({**ROW, "seed": "\n" * 100_000}, ROW),
    "text for converged": report({**ROW, "converged": "yes"}, ROW),
    "a number of many digits": '{"images": [{"seed": ' + "9" * 5000 + "}, {}]}",
    "long": report(ROW, ROW, x="x" * 300_000),
}


@pytest.mark.parametrize("node", ["PULSEContactSheet", "PULSEUncertainty", "PULSESaveImage"])
@pytest.mark.parametrize("case", BAD_REPORTS)
def test_a_malformed_report_ends_in_one_clear_error(pack, models, node, case):
    with pytest.raises(ValueError, match=r"The report .*Accepted: .*What to do: ") as error:
        pack.run(node, image=torch.rand(2, 8, 8, 3), report=BAD_REPORTS[case])
    assert type(error.value).__name__ == "SettingError"
    assert len(str(error.value)) < 600
    assert not list((models.parent / "output").rglob("*.png"))


def test_what_all_rows_share_may_not_fill_every_picture(pack):
    with pytest.raises(ValueError, match="beside its rows"):
        pack.run("PULSESaveImage", image=torch.rand(2, 8, 8, 3), report=report(ROW, ROW, settings="x" * 70_000))


@pytest.mark.parametrize("which", ["9" * 5000, "1," * 20_000, "0", "x", "99", "1 " * 5 + "9" * 12])
def test_numbers_of_any_length_are_told(pack, inputs, which):
    with pytest.raises(ValueError, match="which"):
        pack.run("PULSEPickLatents", latent=inputs["PULSEBlendLatents"]["latent_a"], which=which)


@pytest.mark.parametrize("prefix", ["a" * 300, "a\0b", "b/" * 600, "c" * 5000])
def test_a_prefix_that_no_file_can_have_is_told(pack, inputs, prefix):
    for node, given in (("PULSESaveImage", {"image": torch.rand(1, 8, 8, 3)}), ("PULSESaveLatent", None)):
        given = given or {"latent": inputs["PULSEBlendLatents"]["latent_a"]}
        with pytest.raises(ValueError, match="filename_prefix"):
            pack.run(node, **given, filename_prefix=prefix)


def test_long_captions_are_told(pack):
    with pytest.raises(ValueError, match="captions has"):
        pack.run("PULSEContactSheet", image=torch.rand(1, 8, 8, 3), captions="x" * 10_000)


# Other packs' torch defaults


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
    if hasattr(one, "mean") and hasattr(one, "covariance"):
        return torch.equal(one.mean, other.mean) and torch.equal(one.covariance, other.covariance)
    return type(one) is type(other) and (str(one) == str(other) or hasattr(one, "sources"))


@pytest.mark.parametrize("node", [node for node in NODES if node != "PULSESaveImage"])
def test_other_packs_defaults_change_no_output(pack, inputs, node):
    expected = pack.run(node, **inputs[node])
    for dtype, device in ((torch.float64, None), (torch.float16, "meta")):
        torch.set_default_dtype(dtype)
        try:
            with ExitStack() as stack:
                if device is not None:
                    stack.enter_context(torch.device(device))
                stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
                result = pack.run(node, **inputs[node])
        finally:
            torch.set_default_dtype(torch.float32)
        assert all(map(same, result, expected)), f"{node} under {dtype}"


# Anything that a client may send

WORDS = [
    "1",
    "0",
    "-1",
    ",",
    " ",
    "\n",
    "9" * 30,
    "all",
    "x",
    "[",
    "{",
    '"',
    "nan",
    "1e9",
    "\0",
    "é",
    "..",
    "/",
    "+",
    "*",
]
VALUES = [None, True, -1, 2**70, 1.5, float("nan"), "", "x", [], {}, [[]], {"images": []}, "\n" * 50, [1, 2], {"x": 1}]


def text(chance: random.Random) -> str:
    return "".join(chance.choice(WORDS) * chance.choice([1, 1, 2, 50]) for _ in range(chance.randrange(12)))


def bad_report(chance: random.Random) -> str:
    row = {name: chance.choice([value, chance.choice(VALUES)]) for name, value in ROW.items()}
    whole: Any = {"images": [row, chance.choice([ROW, row, chance.choice(VALUES)])], "settings": chance.choice(VALUES)}
    written = json.dumps(chance.choice([whole, whole, whole, chance.choice(VALUES)]))
    at = chance.randrange(len(written) + 1)
    return chance.choice([written, written, written[:at], written[:at] + text(chance) + written[at:]])


def box(chance: random.Random) -> Any:
    numbers = [0, 4, 8, -5, 1e9, float("nan"), float("inf"), 10**400, "x", None]
    one = {key: chance.choice(numbers) for key in ("x", "y", "width", "height")}
    return chance.choice([one, [one], [[one], [one]], chance.choice(VALUES)])


def any_call(chance: random.Random, latent: Any) -> tuple[str, dict[str, Any]]:
    """A node, and inputs that no widget would give."""
    image = torch.rand(2, chance.choice([1, 8, 40]), chance.choice([1, 8, 40]), chance.choice([1, 3, 4]))
    calls: list[tuple[str, dict[str, Any]]] = [
        ("PULSEContactSheet", {"report": bad_report(chance), "side": 32, "columns": chance.randrange(65)}),
        ("PULSEContactSheet", {"captions": text(chance), "side": 32}),
        ("PULSEUncertainty", {"report": bad_report(chance), "full_scale": chance.choice([0.01, 1.0])}),
        ("PULSESaveImage", {"report": bad_report(chance)}),
        ("PULSESaveImage", {"filename_prefix": text(chance)}),
        ("PULSEAlignFaces", {"landmarks": text(chance) + chance.choice(["", POINTS]), "size": 16}),
        ("PULSEAlignFaces", {"boxes": box(chance), "size": 16, "no_face": "pass through", "rotation": "upright"}),
        ("PULSEPickLatents", {"latent": latent, "which": text(chance)}),
        ("BicubicDownsample", {"mode": chance.choice(["size", "factor"]), "factor": chance.choice([1, 3, 1024])}),
        ("PULSECompare", {"result": torch.rand(chance.choice([2, 3, 4]), 8, 8, 3), "side": 64}),
    ]
    node, given = chance.choice(calls)
    return node, given if node == "PULSEPickLatents" else {"image": image, **given}


def outcome(pack: Any, node: str, given: dict[str, Any]) -> ValueError | None:
    """The error of a node; any but a ValueError goes through."""
    try:
        pack.run(node, **given)
    except ValueError as error:
        return error
    return None


def test_any_input_works_or_ends_in_one_clear_error(pack, inputs):
    latent, refused = inputs["PULSEBlendLatents"]["latent_a"], 0
    for seed in range(FUZZ):
        node, given = any_call(random.Random(f"node {seed}"), latent)
        error = outcome(pack, node, given)
        if error is not None:  # a PulseError, or the host's own about a folder
            clear = {"found", "accepted", "remedy"} <= vars(error).keys() or "saving outside" in str(error)
            assert clear, f"any_call({seed}): {node}: {error!r:.300}"
            assert len(str(error)) < 2000
            refused += 1
    assert FUZZ / 10 < refused < FUZZ

"""Degradations as text, their help, and the ranges of their settings."""

from __future__ import annotations

import math

import pytest
import torch

from pulse_core.degradations import DEGRADATIONS, help_text, parse_degradation
from pulse_core.degradations.area import AreaDownsample
from pulse_core.degradations.blur import GaussianBlur, MotionBlur
from pulse_core.degradations.jpeg import JPEG
from pulse_core.degradations.lanczos import LanczosDownsample
from pulse_core.degradations.noise import Noise, SaltAndPepper
from pulse_core.errors import ImageError, SettingError
from pulse_core.pictures.images import save_image

MASK = torch.tensor([[1.0, 0.0]])


@pytest.fixture
def mask_file(tmp_path):
    path = tmp_path / "a+b, (1).png"
    save_image(MASK.expand(3, 1, 2), path)
    return path


def test_every_degradation_has_a_text_form(mask_file):
    texts = {
        "bicubic(32)": {"size": (32, 32)},
        "area(32, 40)": {"size": (40, 32)},
        "lanczos( 8 )": {"size": (8, 8)},
        "blur(1.5)": {"sigma": 1.5},
        "motion(7,-45)": {"length": 7, "angle": -45},
        "noise(1e-1)": {"std": 0.1},
        "salt_and_pepper(.25)": {"amount": 0.25},
        "jpeg(10)": {"quality": 10},
        f"mask({mask_file})": {"mask": MASK},
        "grey": {},
    }
    for kind, (text, expected) in zip(DEGRADATIONS, texts.items(), strict=True):
        made = parse_degradation(f" {text} ")
        assert type(made) is kind
        for name, value in expected.items():
            assert getattr(made, name) == pytest.approx(value), text
    chain = parse_degradation(" + ".join(texts))
    assert [type(part) for part in chain.parts] == list(DEGRADATIONS)


def test_omitted_arguments_have_defaults():
    assert parse_degradation("motion(7)").angle == 0
    assert parse_degradation("jpeg").quality == 75
    assert parse_degradation("blur()").sigma == 1
    for kind in DEGRADATIONS:
        for each in kind.options():
            assert each.help
            assert each.is_required or each.same_as or each.accepts(each.default)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "The degradation '' has the part ''."),
        ("blur(1) +", "The degradation 'blur(1) +' has the part ''."),
        ("blurr(1)", "has the part 'blurr(1)'."),
        ("blur(1", "has the part 'blur(1'."),
        ("blur 1", "has the part 'blur 1'."),
        ("blur(1) noise(1)", "sigma of blur is 1) noise(1."),
        ("blur(x)", "sigma of blur is x."),
        ("blur(nan)", "sigma of blur is nan."),
        ("blur(0)", "sigma of blur is 0.0."),
        ("blur(1, 2)", "'blur(1, 2)' has 2 arguments."),
        ("grey(1)", "'grey(1)' has 1 argument."),
        ("bicubic", "'bicubic' has 0 arguments."),
        ("bicubic(8.5)", "width of bicubic is 8.5."),
        ("bicubic(8, 0)", "height of bicubic is 0."),
        ("motion(,3)", "length of motion is ."),
        ("jpeg(101)", "quality of jpeg is 101."),
        ("mask()", "'mask()' has 0 arguments."),
    ],
)
def test_invalid_texts_are_refused(text, found):
    with pytest.raises(SettingError) as caught:
        parse_degradation(text)
    assert found in str(caught.value)


def test_errors_list_the_known_degradations_and_their_arguments():
    with pytest.raises(SettingError) as caught:
        parse_degradation("fog(1)")
    for kind in DEGRADATIONS:
        assert f"{kind.name}({', '.join(each.label for each in kind.options())})".removesuffix("()") in str(
            caught.value
        )
    with pytest.raises(SettingError, match=r"Accepted: motion\(length, angle\): .*1 to 200 \(pixels\), default 5"):
        parse_degradation("motion(1,2,3)")
    with pytest.raises(ImageError, match=r"nowhere\.png does not exist"):
        parse_degradation("mask(nowhere.png)")


def test_the_help_has_a_line_for_each_degradation():
    lines = help_text().splitlines()
    assert [line.split("(")[0].split(" ")[0] for line in lines] == [kind.name for kind in DEGRADATIONS]
    for line, kind in zip(lines, DEGRADATIONS, strict=True):
        assert kind.help in line
        assert all(f"{each.label}: {each.help}, {each.range}" in line for each in kind.options())


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: GaussianBlur(0), "sigma of blur is 0. Accepted: 0.1 to 100 (pixels)."),
        (lambda: MotionBlur(0.5, 0), "length of motion is 0.5. Accepted: 1 to 200 (pixels)."),
        (lambda: MotionBlur(5, 361), "angle of motion is 361. Accepted: -360 to 360 (degrees)."),
        (lambda: Noise(-0.1), "std of noise is -0.1. Accepted: 0 to 1."),
        (lambda: Noise(math.inf), "std of noise is inf."),
        (lambda: SaltAndPepper(1.1), "amount of salt_and_pepper is 1.1. Accepted: 0 to 1."),
        (lambda: JPEG(0), "quality of jpeg is 0. Accepted: whole numbers 1 to 100."),
        (lambda: JPEG(9.5), "quality of jpeg is 9.5."),
        (lambda: JPEG(None), "quality of jpeg is None."),
        (lambda: AreaDownsample(size=(2.5, 4)), "height of area is 2.5. Accepted: whole numbers from 1 up (pixels)."),
        (lambda: LanczosDownsample(factor=0), "factor is 0. Accepted: whole numbers from 1 up."),
    ],
)
def test_settings_out_of_range_are_refused(make, found):
    with pytest.raises(SettingError) as caught:
        make()
    assert found in str(caught.value)

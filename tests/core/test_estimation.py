"""Degradation estimates: degraded portraits with known ground truth, and pictures without any signal."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT

from bench.estimation.cases import degrade, effective_size
from bench.estimation.table import evaluated
from pulse_core.degradations import Chain, GaussianBlur, Grey, Noise
from pulse_core.degradations.bicubic import downsample, enlarge
from pulse_core.degradations.jpeg import JPEG
from pulse_core.errors import ImageError
from pulse_core.faces.estimation import SIZES, WEIGHTS, DegradationEstimate, estimate_degradation
from pulse_core.faces.features import luma_of
from pulse_core.pictures.images import read_image

CASES = 96  # six of each portrait


@pytest.fixture(scope="module")
def portrait():
    return read_image(ROOT / "bench" / "photographs" / "p13.jpg")


@pytest.fixture(scope="module")
def found():
    return list(evaluated(CASES))


def share(flags):
    flags = list(flags)
    return sum(flags) / len(flags)


def test_the_size_is_right_within_a_step(found):
    assert share(abs(each.steps) <= 1 for each in found) >= 0.9


def test_the_noise_is_right_within_a_quarter(found):
    assert share(each.noise_is_right for each in found) >= 0.9


def test_grey_is_always_detected(found):
    assert all(each.estimate.is_grey == each.case.grey for each in found)


def test_jpeg_is_detected_without_false_positives(found):
    plain = [each for each in found if each.case.jpeg is not None and "aligned" not in each.case.kinds]
    assert (
        share(each.estimate.jpeg is not None and abs(each.estimate.jpeg - each.case.jpeg) <= 6 for each in plain)
        >= 0.85
    )
    assert share(each.estimate.jpeg is None for each in found if each.case.jpeg is None) >= 0.95


def test_confidence_is_lower_for_wrong_estimates(found):
    right = [each.estimate.confidence for each in found if abs(each.steps) <= 1]
    wrong = [each.estimate.confidence for each in found if abs(each.steps) > 1]
    assert not wrong or sum(wrong) / len(wrong) < sum(right) / len(right)


@pytest.mark.parametrize("small", [24, 32, 64])
def test_enlarged_pictures_keep_their_effective_size(portrait, small):
    enlarged = enlarge(downsample(portrait, size=(small, small)), (256, 256)).clamp(0, 1)
    assert abs(SIZES.index(estimate_degradation(enlarged).size) - SIZES.index(small)) <= 1


def test_ground_truth_of_the_effective_size(portrait):
    clean = luma_of(downsample(portrait, size=(256, 256)))
    assert effective_size(clean, clean) == 256
    random = torch.Generator().manual_seed(0)
    noises = [
        effective_size(clean, clean + std * torch.randn(clean.shape, generator=random)) for std in (0.02, 0.1, 0.5)
    ]
    blurs = [effective_size(clean, GaussianBlur(sigma).forward(clean[None, None])[0, 0]) for sigma in (1, 2, 4)]
    assert 256 >= noises[0] > noises[1] > noises[2]
    for sigma, size in zip((1, 2, 4), blurs, strict=True):
        assert size == pytest.approx(0.37 * 256 / sigma, rel=0.15)


def test_cases_depend_only_on_the_seed(portrait):
    one, two = degrade(portrait, 7), degrade(portrait, 7)
    assert torch.equal(one.picture, two.picture)
    assert (one.effective_size, one.noise) == (two.effective_size, two.noise)


def test_estimates_are_deterministic_and_do_not_modify_the_picture(portrait):
    picture = downsample(portrait, size=(128, 128)).clamp(0, 1)
    before, first = picture.clone(), estimate_degradation(picture)
    assert estimate_degradation(picture) == first
    assert torch.equal(picture, before)


@pytest.mark.parametrize("side", [16, 64, 256])
@pytest.mark.parametrize("shade", [0.0, 0.4, 1.0])
def test_flat_pictures_have_no_confidence(side, shade):
    found = estimate_degradation(torch.full((3, side, side), shade))
    assert (found.size, found.blur, found.jpeg, found.is_grey) == (16, 0.0, None, True)
    assert found.confidence < 0.1
    assert found.noise < 0.01


@pytest.mark.parametrize("std", [0.02, 0.2])
def test_noise_has_little_confidence(std):
    random = torch.Generator().manual_seed(3)
    noise = (0.5 + std * torch.randn(3, 16, 16, generator=random)).clamp(0, 1)
    assert estimate_degradation(noise).confidence < 0.3


def test_huge_pictures_are_estimated(portrait):
    huge = enlarge(downsample(portrait, size=(64, 64)), (2048, 2048)).clamp(0, 1)
    found = estimate_degradation(huge)
    assert found.side == 2048
    assert found.size <= 128


def test_tiny_pictures_are_estimated(portrait):
    assert estimate_degradation(downsample(portrait, size=(16, 16)).clamp(0, 1)).size == 16


def test_the_central_square_of_a_picture_is_used(portrait):
    picture = downsample(portrait, size=(128, 128)).clamp(0, 1)
    wide = torch.cat([torch.zeros(3, 128, 20), picture, torch.ones(3, 128, 20)], dim=2)
    assert estimate_degradation(wide) == estimate_degradation(picture)


def test_grey_as_three_equal_channels(portrait):
    grey = Grey().forward(downsample(portrait, size=(96, 96)).clamp(0, 1)[None])[0]
    assert estimate_degradation(grey).is_grey
    assert estimate_degradation(JPEG(40).apply(grey[None], torch.Generator())[0]).is_grey
    assert not estimate_degradation((grey * torch.tensor([1.0, 0.9, 0.7])[:, None, None]).clamp(0, 1)).is_grey  # sepia


@pytest.mark.parametrize("shape", [(3, 15, 40), (1, 64, 64), (3, 64), (1, 3, 64, 64), (3, 0, 0)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ImageError, match="has the shape"):
        estimate_degradation(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 200.0])
def test_what_is_no_colour_is_refused(value):
    picture = torch.full((3, 32, 32), 0.5)
    picture[1, 2, 3] = value
    with pytest.raises(ImageError):
        estimate_degradation(picture)


def test_the_degradation_of_an_estimate():
    found = DegradationEstimate(32, 1.6, 0.04, None, True, 0.9, 128, (0.04, 0.02, 0.01, 0.005))
    seen = found.degradation(64)
    assert isinstance(seen, Chain)
    grey, blur, noise = seen.parts
    assert isinstance(grey, Grey)
    assert isinstance(blur, GaussianBlur)
    assert isinstance(noise, Noise)
    assert blur.sigma == pytest.approx(0.8)
    assert noise.std == pytest.approx(0.02)
    (_, noise) = found.degradation(32).parts  # at this size the blur does not matter
    assert isinstance(noise, Noise)
    assert noise.std == pytest.approx(0.01)
    assert found.noise_at(4) == pytest.approx(0.00125)
    assert DegradationEstimate(128, 0.0, 0.0, None, False, 0.9, 128, (0.0, 0.0, 0.0, 0.0)).degradation(64) is None


def test_summaries_are_one_line():
    assert (
        DegradationEstimate(32, 1.31, 0.021, 60, True, 0.9, 80).summary
        == "holds 32 of 80 pixels, blur 1.3 px, noise 0.021, JPEG 60, grey"
    )
    assert DegradationEstimate(16, 0.0, 0.0, None, False, 0.1, 16).summary == "holds 16 of 16 pixels, uncertain"


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size < 200_000

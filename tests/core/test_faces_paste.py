"""Aligning faces and pasting them back: which pixels change, and which do not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import ROOT

from pulse_core.degradations import parse_degradation
from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import ImageError, SettingError
from pulse_core.faces.alignment import align
from pulse_core.faces.estimation import SIZES, DegradationEstimate, estimate_degradation
from pulse_core.faces.face import Face, Source, ffhq_quad
from pulse_core.faces.finding import find_faces
from pulse_core.faces.pasting import PasteSettings, Patch, paste
from pulse_core.faces.sizes import (
    face_degradation,
    face_target_size,
    lr_size,
    match_colour_mode,
    picture_target_size,
    resize_to_target,
    useful_sizes,
)
from pulse_core.faces.warping import bounds_of, crop_square, paste_square, resize, square_coordinates
from pulse_core.pictures.images import read_image


@pytest.fixture(scope="module")
def grace():
    return read_image(ROOT / "samples" / "grace_hopper.jpg")


def smooth(height, width, channels=3, waves=3.0):
    """A picture without high frequencies, so that resampling loses nothing."""
    y, x = torch.meshgrid(torch.linspace(0, waves, height), torch.linspace(0, waves, width), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(x * (k + 1) + y * (2 - k) + k) for k in range(channels)])


def make_face(centre=(100.0, 90.0), side=60.0, turn=0.3, picture=0):
    """A face whose quad has this centre, side in pixels, and rotation in radians."""
    eye, down = side / 8, side / 7.2  # both terms of the maximum in FFHQ's alignment are about half a side
    points = torch.tensor([[-eye, 0], [eye, 0], [0, down / 2], [-eye / 2, down], [eye / 2, down]], dtype=torch.float64)
    turning = torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    points = points @ turning
    face = Face(picture, points, 1.0)
    points = points * (side / face.side)
    points = points - ffhq_quad(points).mean(0) + torch.tensor(centre, dtype=torch.float64)
    return Face(picture, points, 1.0)


def test_make_face_has_the_given_centre_and_side():
    face = make_face(side=60.0, centre=(100.0, 90.0))
    assert face.side == pytest.approx(60)
    assert face.quad.mean(0).tolist() == pytest.approx([100, 90])


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.2])
def test_pasting_an_aligned_face_back_reproduces_the_photograph(grace, scale):
    picture = resize(grace, round(600 * scale), round(512 * scale)).clamp(0, 1)
    faces = find_faces([picture])
    (aligned,) = align([picture], faces, 1024)
    pasted = paste(picture, faces.sources[0], [Patch(faces[0], aligned)], PasteSettings(feather=0.0, grain=0.0))
    inside = pasted.invented > 0
    error = (pasted.picture - picture).abs()[:, inside]
    assert float(error.mean()) < 1 / 255
    assert torch.equal(pasted.picture[:, ~inside], picture[:, ~inside])


def test_pasting_and_cropping_do_not_alias():
    """Stripes finer than the picture's pixels become grey, also in a rotated quad."""
    stripes = (torch.arange(1024) % 2).float().expand(3, 1024, 1024)
    picture = torch.full((3, 200, 200), 0.5)
    face = make_face(side=100.0)
    pasted = paste(picture, Source.of(picture), [Patch(face, stripes)], PasteSettings(feather=0.0))
    where = square_coordinates(face.quad, (0, 0, 200, 200))
    middle = ((where > 0.1) & (where < 0.9)).all(-1)
    assert float((pasted.picture - 0.5).abs()[:, middle].max()) < 0.01
    fine = (torch.arange(800) % 2).float().expand(3, 800, 800)
    cut = crop_square(fine, make_face(centre=(400.0, 400.0), side=500.0).quad, 64)
    assert float((cut - 0.5).abs().max()) < 0.01


@pytest.mark.parametrize("size", [16, 60, 200])
def test_crop_then_paste_reproduces_a_smooth_picture(size):
    picture, face = smooth(180, 200), make_face()
    bounds = bounds_of(face.quad)
    pasted = paste_square(crop_square(picture, face.quad, size), face.quad, bounds)
    where = square_coordinates(face.quad, bounds)
    inside = ((where > 0.1) & (where < 0.9)).all(-1)
    expected = picture[:, bounds[1] : bounds[3], bounds[0] : bounds[2]]
    assert float((pasted - expected).abs()[:, inside].mean()) < 1 / 255


def test_corners_of_the_quad_map_to_corners_of_the_crop():
    picture = torch.zeros(3, 180, 200)
    face = make_face()
    for corner, value in zip(face.quad.tolist(), (0.2, 0.4, 0.6, 0.8), strict=True):
        x, y = (round(part) for part in corner)
        picture[:, y - 8 : y + 8, x - 8 : x + 8] = value
    cut = crop_square(picture, face.quad, 60)
    found = [float(cut[0, row, column]) for row, column in ((2, 2), (57, 2), (57, 57), (2, 57))]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.02)


def test_crops_beyond_the_border_are_mirrored_then_median():
    picture = smooth(120, 120)
    cut = crop_square(picture, make_face(centre=(5.0, 60.0), side=80.0, turn=0.0).quad, 160)
    edge = 70  # column of the crop where the picture begins; the crop has twice its resolution
    inside = cut[:, 40:120, edge + 2 : 150]
    assert float((inside - resize(picture, 240, 240)[:, 80:160, 2:80]).abs().mean()) < 1 / 255
    mirrored = cut[:, 40:120, edge : edge + 4].flip(-1)
    assert float((cut[:, 40:120, edge - 4 : edge] - mirrored).abs().mean()) < 0.04
    far = crop_square(picture, make_face(centre=(-60.0, 60.0), side=80.0, turn=0.0).quad, 16)
    median = picture.flatten(1).median(1).values
    assert float((far[:, :, 0] - median[:, None]).abs().max()) < 0.03


def test_blend_0_returns_the_photograph():
    random = torch.Generator().manual_seed(0)
    picture, face = torch.rand(3, 180, 200, generator=random), make_face()
    patch = Patch(face, torch.rand(3, 64, 64, generator=random))
    pasted = paste(picture, Source.of(picture), [patch], PasteSettings(blend=0.0, color_match=1.0))
    assert torch.equal(pasted.picture, picture)
    assert not bool(pasted.invented.any())


def test_pixels_outside_the_quad_are_unchanged():
    random = torch.Generator().manual_seed(0)
    picture, face = torch.rand(3, 180, 200, generator=random), make_face()
    pasted = paste(picture, Source.of(picture), [Patch(face, torch.ones(3, 64, 64))], PasteSettings(feather=0.25))
    where = square_coordinates(face.quad, (0, 0, 200, 180))
    outside = ((where < 0) | (where > 1)).any(-1)
    assert torch.equal(pasted.picture[:, outside], picture[:, outside])
    assert not bool(pasted.invented[outside].any())
    middle = ((where > 0.3) & (where < 0.7)).all(-1)
    assert bool((pasted.picture[:, middle] > 0.999).all())
    assert bool((pasted.invented[middle] > 0.999).all())
    head = (((where - 0.5) / 0.4).norm(dim=-1) < 1.0) & (where > 0.02).all(-1) & (where < 0.98).all(-1)
    assert bool(((pasted.invented[head] > 0) & (pasted.invented[head] <= 1)).all())


def test_corners_of_the_quad_are_unchanged():
    picture, face = smooth(180, 200), make_face(turn=0.0)
    result = paste(picture, Source.of(picture), [Patch(face, torch.ones(3, 64, 64))])
    where = square_coordinates(face.quad, (0, 0, 200, 180))
    corners = ((where - 0.5).abs() > 0.4).all(-1)
    assert torch.equal(result.picture[:, corners], picture[:, corners])


def test_paste_does_not_modify_its_input():
    picture = smooth(180, 200)
    before = picture.clone()
    paste(picture, Source.of(picture), [Patch(make_face(), torch.ones(3, 64, 64))])
    assert torch.equal(picture, before)


@pytest.mark.parametrize("factor", [1.5, 4.0])
def test_enlarge_keeps_the_details_of_the_face(factor):
    picture, face = smooth(180, 200), make_face(side=60.0)
    detailed = smooth(256, 256, waves=60.0)
    settings = PasteSettings(enlarge=factor, feather=0.0)
    pasted = paste(picture, Source.of(picture), [Patch(face, detailed)], settings)
    assert pasted.picture.shape == (3, round(180 * factor), round(200 * factor))
    back = crop_square(pasted.picture, face.quad * factor, 256)
    error = float((back - detailed)[:, 32:-32, 32:-32].abs().mean())
    assert error < (0.02 if factor == 4.0 else 0.2)
    untouched = pasted.invented == 0
    assert torch.equal(
        pasted.picture[:, untouched], resize(picture, *pasted.picture.shape[1:]).clamp(0, 1)[:, untouched]
    )


def test_faces_scale_with_an_enlarged_photograph():
    picture, face = smooth(180, 200), make_face()
    larger = resize(picture, 540, 600).clamp(0, 1)
    pasted = paste(larger, Source.of(picture), [Patch(face, torch.ones(3, 64, 64))], PasteSettings(feather=0.0))
    where = square_coordinates(face.quad * 3, (0, 0, 600, 540))
    assert torch.equal(pasted.invented > 0, ((where >= 0) & (where <= 1)).all(-1))


def test_color_match_reduces_the_colour_error():
    picture = (smooth(180, 200) * 0.3 + 0.2).clamp(0, 1)
    face = make_face()
    ours = crop_square(picture, face.quad, 128) * 0.5 + 0.45  # the same face, brighter and flatter
    errors = []
    for strength in (0.0, 0.5, 1.0):
        settings = PasteSettings(color_match=strength, feather=0.0)
        pasted = paste(picture, Source.of(picture), [Patch(face, ours)], settings)
        errors.append(float((pasted.picture - picture).abs().mean()))
    assert errors[0] > 1.8 * errors[1] > 3 * errors[2]
    assert errors[2] < 0.002


def test_a_mask_of_photograph_or_face_replaces_the_seam():
    picture, face = smooth(180, 200), make_face(turn=0.0)
    source, white = Source.of(picture), torch.ones(3, 64, 64)
    left, top, right, bottom = bounds_of(face.quad)
    on_photograph = torch.zeros(180, 200)
    on_photograph[:, : (left + right) // 2] = 1
    on_face = torch.zeros(64, 64)
    on_face[:, :32] = 1
    for mask in (on_photograph, resize(on_photograph[None], 360, 400)[0], on_face):
        pasted = paste(picture, source, [Patch(face, white, mask)])
        assert float(pasted.invented[(top + bottom) // 2, left + 10]) == pytest.approx(1, abs=0.01)
        assert float(pasted.invented[(top + bottom) // 2, right - 10]) == pytest.approx(0, abs=0.01)
        assert not bool(pasted.invented[: top - 1].any())
    with pytest.raises(ImageError, match=r"The mask is 9x40\.") as caught:
        paste(picture, source, [Patch(face, white, torch.ones(40, 9))])
    assert caught.value.accepted == "the photograph's 200x180, or the restored face's 64x64."


def test_enlarging_beyond_the_size_limit_is_refused():
    picture = torch.zeros(3, 10, 2000)
    with pytest.raises(SettingError, match=r"2000x10.*32000x160.*8\.2 at most"):
        paste(picture, Source.of(picture), [], PasteSettings(enlarge=16.0))


def test_a_quad_larger_than_the_picture_is_cropped():
    picture, face = smooth(300, 300), make_face(centre=(150.0, 150.0), side=1100.0)
    cut = crop_square(picture, face.quad, 64)
    seen = crop_square(cut, make_face(centre=(32.0, 32.0), side=64 * 64 / 1100, turn=-0.3).quad, 17)
    middle = resize(picture, 64, 64)
    assert cut.shape == (3, 64, 64)
    assert float((cut[:, 32, 32] - middle[:, 32, 32]).abs().max()) < 0.05
    assert bool(seen.isfinite().all())


def test_later_patches_cover_earlier_ones_and_alpha_is_kept():
    picture = torch.cat([smooth(180, 200), torch.linspace(0, 1, 200).expand(1, 180, 200)])
    face, settings = make_face(), PasteSettings(feather=0.0)
    patches = [Patch(face, torch.zeros(3, 32, 32)), Patch(face, torch.ones(3, 32, 32))]
    pasted = paste(picture, Source.of(picture[:3]), patches, settings)
    assert float(pasted.picture[:3, 90, 100].min()) > 0.99
    assert torch.equal(pasted.picture[3], picture[3])


@pytest.mark.parametrize("centre", [(-200.0, 50.0), (0.0, 0.0), (199.0, 100.0)])
def test_faces_at_and_beyond_the_border_are_pasted(centre):
    picture, face = smooth(180, 200), make_face(centre=centre)
    pasted = paste(picture, Source.of(picture), [Patch(face, torch.ones(3, 64, 64))])
    assert pasted.picture.shape == picture.shape
    assert bool(pasted.picture.isfinite().all())
    assert bool(pasted.invented.any()) is (centre[0] >= 0)


@pytest.mark.parametrize("settings", [{"blend": 1.1}, {"feather": 0.6}, {"enlarge": 0.5}, {"color_match": -1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        PasteSettings(**settings)


@pytest.mark.parametrize(
    ("side", "expected"),
    [(3, 16), (16, 16), (22, 16), (23, 32), (33, 32), (45, 32), (46, 64), (100, 128), (900, 1024), (5000, 1024)],
)
def test_lr_size_rounds_to_a_power_of_two(side, expected):
    assert lr_size(side, 1024) == expected


def test_useful_sizes_are_limited_by_the_generator():
    assert useful_sizes(1024) == [16, 32, 64, 128, 256, 512, 1024]
    assert useful_sizes(100) == [16, 32, 64]
    assert useful_sizes(8) == [8]


@pytest.mark.parametrize("width", [1, 16, 20, 64, 100])
def test_resize_to_target_keeps_the_mean_colour(width):
    face = smooth(64, 64)
    low = resize_to_target(face, width, (128, 128))
    assert low.shape == (3, width, width)
    assert float((low.mean((1, 2)) - face.mean((1, 2))).abs().max()) < 0.02
    assert resize_to_target(smooth(64, 32), 16, (128, 64)).shape == (3, 32, 16)


def test_invalid_target_sizes_are_refused():
    with pytest.raises(ImageError, match=r"wanted 200 pixels wide; the generator makes 128x128"):
        resize_to_target(smooth(64, 64), 200, (128, 128))
    with pytest.raises(ImageError, match=r"The face is 32x64"):
        resize_to_target(smooth(64, 32), 16, (128, 128))


def estimate(**changed):
    known = {"size": 32, "blur": 1.5, "noise": 0.04, "jpeg": None, "is_grey": False, "confidence": 1.0, "side": 80}
    return DegradationEstimate(**{**known, **changed})


def face_with_estimate(x, y, side, **changed):
    """An upright face whose quad is centred at (x, y)."""
    face = make_face(centre=(x, y), side=side, turn=0.0)
    return replace(face, estimate=estimate(side=round(face.side), **changed))


def paste_on_grey(face, image, **settings):
    picture = torch.full((3, 200, 300), 0.5)
    return paste(picture, Source.of(picture), [Patch(face, image)], PasteSettings(feather=0.0, **settings)).picture


def test_grain_and_blur_are_matched_unless_the_photograph_is_enlarged():
    face = face_with_estimate(150.0, 100.0, 80)
    stripes = (torch.arange(512) // 64 % 2).float().expand(3, 512, 512)
    plain, grainy = paste_on_grey(face, stripes, grain=0.0), paste_on_grey(face, stripes, grain=1.0)
    inside = (slice(None), slice(90, 110), slice(130, 170))
    assert float(plain[inside].amax() - plain[inside].amin()) > 0.95
    assert float((grainy - plain)[inside].std()) > 0.03
    flat = torch.full((3, 512, 512), 0.5)
    grain = paste_on_grey(face, flat, grain=1.0)[inside] - 0.5
    assert float(grain.std()) == pytest.approx(0.04, rel=0.2)
    assert torch.equal(grain[0], grain[1]), "the grain is the same in all channels"
    assert torch.equal(paste_on_grey(face, flat, grain=1.0), paste_on_grey(face, flat, grain=1.0))
    assert float((paste_on_grey(face, flat, grain=1.0, enlarge=2.0) - 0.5).abs().max()) < 1e-5
    uncertain = replace(face, estimate=estimate(confidence=0.0))
    assert torch.equal(paste_on_grey(uncertain, flat, grain=1.0), paste_on_grey(uncertain, flat, grain=0.0))


def test_overlapping_faces_keep_their_centres():
    left, right = face_with_estimate(110.0, 100.0, 120), face_with_estimate(170.0, 100.0, 110)
    picture, black, white = torch.full((3, 200, 300), 0.5), torch.zeros(3, 64, 64), torch.ones(3, 64, 64)
    settings = PasteSettings(grain=0.0)
    for patches in ([Patch(left, black), Patch(right, white)], [Patch(right, white), Patch(left, black)]):
        result = paste(picture, Source.of(picture), patches, settings, [left, right]).picture
        middle_of_left, middle_of_right = (
            result[0, int(face.quad.mean(0)[1]), int(face.quad.mean(0)[0])] for face in (left, right)
        )
        assert middle_of_left < 0.05
        assert middle_of_right > 0.95


@pytest.mark.parametrize(
    ("changed", "side", "size"),
    [({"size": 32}, 80, 32), ({"size": 384}, 500, 128), ({"size": 20, "confidence": 0.1}, 80, 64)],
)
def test_the_target_of_a_face_has_its_effective_size(changed, side, size):
    face = face_with_estimate(150.0, 100.0, side, **changed)
    assert face_target_size(face, 1024) == size
    assert face_target_size(face, 16) == 16


def test_the_degradation_of_a_face_is_the_estimate_or_the_given_one():
    source = Source(200, 300, torch.zeros(16, 16))
    face = face_with_estimate(150.0, 100.0, 80, is_grey=True, noise=0.1)
    assert "grey" in str(face_degradation(face, source, 32))
    assert "noise" in str(face_degradation(face, source, 32))
    given = parse_degradation("blur(2)")
    assert face_degradation(face, source, 32, given) is given
    assert face_degradation(face_with_estimate(150.0, 100.0, 80, confidence=0.0), source, 32) is None


def test_faces_of_grey_photographs_are_grey():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    grey = match_colour_mode(image, face_with_estimate(1.0, 1.0, 80, is_grey=True))
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])
    assert match_colour_mode(image, face_with_estimate(1.0, 1.0, 80)) is image


def test_the_target_of_an_enlarged_picture_has_its_effective_size(grace):
    (face,) = align([grace], find_faces([grace]), 512)
    small = downsample(face, size=(24, 24))
    enlarged = resize(small, 256, 256).clamp(0, 1)
    steps = [size for size in SIZES if size <= 48]
    assert (
        picture_target_size((256, 256), estimate_degradation(enlarged), 1024)
        in steps[steps.index(24) - 1 : steps.index(24) + 2]
    )
    assert picture_target_size((24, 24), estimate_degradation(small), 1024) == 24

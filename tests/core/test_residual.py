"""The residual correction, exactness, and the enlargement of the residual."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pulse_core.degradations import forward_operator, parse_degradation
from pulse_core.degradations.bicubic import downsample, enlarge
from pulse_core.degradations.mask import Mask
from pulse_core.latent_search.config import RECOMMENDED
from pulse_core.latent_search.enlarging import enlarge_sharp
from pulse_core.latent_search.loop import search
from pulse_core.latent_search.residual import complete, nearest_exact
from pulse_core.pictures.images import from_pil, to_pil

FACE = torch.ones(1, 1, 8, 8)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pair():
    """A picture, a target close to its downscaling, and the forward operator."""
    image = 0.3 + 0.4 * torch.rand(1, 3, 64, 64, generator=random())
    down = forward_operator(None, (8, 8), (64, 64))
    return image, down.forward(image) + 0.02 * torch.randn(1, 3, 8, 8, generator=random(1)), down


def error(image, target, down):
    return float((down.forward(image) - target).abs().max())


def test_the_full_correction_matches_the_target(pair):
    image, target, down = pair
    assert error(image, target, down) > 0.02
    done = complete(image, target, down, FACE)
    assert error(done.picture, target, down) < 0.2 / 255
    torch.testing.assert_close(done.residual, target - down.forward(image))


def test_half_the_correction_halves_the_residual(pair):
    image, target, down = pair
    after = target - down.forward(complete(image, target, down, FACE, amount=0.5).picture)
    torch.testing.assert_close(after, (target - down.forward(image)) / 2, atol=6e-4, rtol=0)
    assert torch.equal(complete(image, target, down, FACE, amount=0.0).picture, image)


@pytest.mark.parametrize("seed", range(6))
def test_the_correction_is_exact_where_colours_clip(seed):
    """8-bit targets with black and white pixels, and unrelated images."""
    down = forward_operator(None, (8, 8), (64, 64))
    truth = (0.5 + 1.5 * torch.randn(1, 3, 64, 64, generator=random(seed))).clamp(0, 1)
    if seed % 2:
        truth = enlarge(truth[..., :16, :16], (64, 64)).clamp(0, 1).round()
    target = (down.forward(truth).clamp(0, 1) * 255).round() / 255
    image = torch.rand(1, 3, 64, 64, generator=random(seed + 100)) ** (1 + seed)
    picture = complete(image, target, down, FACE).picture
    written = from_pil(to_pil(picture[0]))[None]
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1
    assert error(written, target, down) < 1 / 255


@pytest.mark.parametrize("text", [None, "blur(1)"])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_flat_black_or_white_is_no_obstacle(text, level):
    """Every pixel of a region lies on the border of 0..1 at first."""
    down = forward_operator(None if text is None else parse_degradation(text), (16, 16), (64, 64))
    image = torch.full((1, 3, 64, 64), level)
    truth = enlarge(0.3 + 0.4 * torch.rand(1, 3, 4, 4, generator=random()), (64, 64))
    target = down.forward(truth)
    assert error(nearest_exact(image, target, down), target, down) < 1 / 255


def test_of_pixels_that_are_partly_hidden_a_share_of_the_residual_is_added():
    weight = torch.rand(8, 8, generator=random(1)).clamp(min=0.2)
    down = forward_operator(Mask(weight), (8, 8), (64, 64))
    image = 0.3 + 0.4 * torch.rand(1, 3, 64, 64, generator=random())
    target = 0.3 + 0.4 * torch.rand(1, 3, 8, 8, generator=random(2))
    done = complete(image, target, down, FACE, down.weight_map(target))
    goal = target - done.residual * (1 - weight)
    assert float(((down.forward(done.picture) - goal) * weight).abs().max()) < 0.5 / 255


def test_nearest_exact_is_the_projection_onto_exact_pictures(pair):
    """Against 2000 steps of Dykstra's alternating projections, with colours that clip."""
    _, _, down = pair
    truth = torch.rand(1, 3, 64, 64, generator=random(3)).round()
    target = down.forward(truth)
    x = (truth + 0.7 * torch.randn(1, 3, 64, 64, generator=random(4))).clamp(-0.5, 1.5)
    picture = nearest_exact(x, target, down)
    assert error(picture, target, down) < 1e-3
    matrix = torch.func.jacrev(lambda flat: down.forward(flat.reshape(1, 1, 64, 64)).flatten())(torch.zeros(64 * 64))
    inverse = torch.linalg.pinv(matrix.double())
    z, increment = x.double().reshape(3, -1), torch.zeros(3, 64 * 64, dtype=torch.float64)
    flat_target = target.double().reshape(3, -1)
    for _ in range(2000):
        flat = z + (flat_target - z @ matrix.double().T) @ inverse.T
        z = (flat + increment).clamp(0, 1)
        increment = flat + increment - z
    torch.testing.assert_close(picture.double().reshape(3, -1), z, atol=5e-3, rtol=0)


def test_infeasible_targets_are_approximated(pair):
    _, target, down = pair
    image, target = torch.ones(1, 3, 64, 64), target.clone()
    target[..., 0, 0] = 1.5
    better = complete(image, target, down, FACE).picture
    assert float(better.max()) <= 1
    assert (down.forward(better) - target).square().mean() < (down.forward(image) - target).square().mean()


def test_noise_is_ignored_and_stronger_differences_are_corrected():
    noisy = forward_operator(parse_degradation("noise(0.1)"), (32, 32), (64, 64))
    image = 0.3 + 0.4 * torch.rand(1, 3, 64, 64, generator=random())
    clean = noisy.forward(image)
    noise = 0.1 * torch.randn(clean.shape, generator=random(1))
    occluder = torch.zeros_like(clean)
    occluder[..., :12, :12] = 0.4
    face = torch.ones(1, 1, 32, 32)
    kept = noisy.forward(complete(image, clean + noise, noisy, face).picture)
    assert (kept - clean).square().mean() < 0.1 * noise.square().mean()
    drawn = noisy.forward(complete(image, clean + occluder + noise, noisy, face).picture)
    assert (drawn - clean - occluder)[..., 2:10, 2:10].square().mean() < 0.6 * noise.square().mean()


def test_hidden_pixels_do_not_affect_the_correction(pair):
    image, target, down = pair
    mask = torch.ones(8, 8)
    mask[4:] = 0
    hidden = forward_operator(Mask(mask), (8, 8), (64, 64))
    results = []
    for given in (target, torch.cat([target[..., :4, :], torch.zeros(1, 3, 4, 8)], 2)):
        changed = complete(image, given, hidden, FACE, hidden.weight_map(given)).picture
        assert down.forward(changed - image)[..., 6:, :].abs().max() < 0.05  # outlines go on under the mask
        assert (down.forward(changed) - target)[..., :4, :].abs().max() < 0.5 / 255
        results.append(changed)
    torch.testing.assert_close(*results, atol=1e-3, rtol=0)


@pytest.mark.parametrize("text", ["grey", "jpeg(60)", "blur(0.5)", "area(8, 8)", "lanczos(8, 8)", "grey + blur(0.4)"])
def test_targets_of_noiseless_degradations_are_matched(text):
    """Up to the noise variance that JPEG's rounding has."""
    degradation = forward_operator(parse_degradation(text), (8, 8), (64, 64))
    truth, image = (torch.rand(1, 3, 64, 64, generator=random(seed)) for seed in (0, 1))
    target = degradation.forward(truth)
    done = complete(image, target, degradation, FACE)
    before, after = (float((degradation.forward(x) - target).square().mean()) for x in (image, done.picture))
    assert after <= max(1e-6, 2.5 * float(degradation.noise_variance(target)))
    assert after < before


@pytest.mark.parametrize("text", ["blur(1)", "blur(1.5) + grey", "motion(5, 30)", "blur(1) + salt_and_pepper(0.1)"])
def test_targets_that_a_blur_made_smooth_are_matched_to_a_level_of_8_bits(text):
    """Rounding put details into the target that hardly any picture has after the blur."""
    down = forward_operator(parse_degradation(text), (24, 24), (96, 96))
    truth = enlarge(torch.rand(1, 3, 12, 12, generator=random()), (96, 96)).clamp(0, 1)
    drawn = (truth + 0.1 * enlarge(torch.randn(1, 3, 6, 6, generator=random(1)), (96, 96))).clamp(0, 1)
    target = down.project((down.forward(truth) * 255).round() / 255)
    done = complete(drawn, target, down, torch.ones(1, 1, 24, 24))
    assert error(from_pil(to_pil(done.picture[0]))[None], target, down) < 1 / 255


@pytest.mark.parametrize("text", [None, "blur(2) + grey", "jpeg(30)", "noise(0.1)", "motion(5, 30)"])
def test_rounding_of_the_image_changes_little(text):
    down = forward_operator(None if text is None else parse_degradation(text), (16, 16), (64, 64))
    image = (0.5 + 0.3 * enlarge(torch.randn(1, 3, 8, 8, generator=random()), (64, 64))).clamp(0, 1)
    other = image + 0.1 * enlarge(torch.randn(1, 3, 8, 8, generator=random(1)), (64, 64))
    target = down.project((down.forward(other.clamp(0, 1)) * 255).round() / 255)
    done = complete(image, target, down, torch.ones(1, 1, 16, 16)).picture
    for seed in range(3):
        rounded = (image + 1e-7 * torch.randn(image.shape, generator=random(seed))).clamp(0, 1)
        again = complete(rounded, target, down, torch.ones(1, 1, 16, 16)).picture
        torch.testing.assert_close(again, done, atol=0.01, rtol=0)


def test_details_that_contradict_the_target_are_removed_outside_the_face():
    """Outside the face, where the error is large, the result is the target, smoothly enlarged."""
    down = forward_operator(None, (8, 8), (64, 64))
    drawn = (torch.arange(64) // 4 % 2).float().expand(1, 3, 64, 64)  # fine stripes all over
    target = torch.full((1, 3, 8, 8), 0.5)
    target[..., 4:] = 0.75  # the right half contradicts the target
    around = complete(drawn, target, down, torch.zeros(1, 1, 8, 8)).picture
    face = complete(drawn, target, down, torch.ones(1, 1, 8, 8)).picture
    assert around[..., :16].std() > 0.3 > 0.1 > around[..., 48:].std()
    assert face[..., 40:56].std() > around[..., 40:56].std()


def test_a_solution_reports_both_errors_and_the_residual(tiny, tiny_fit):
    target = 0.4 + 0.2 * torch.rand(1, 3, 8, 8, generator=random())
    exact, plain = (
        search(tiny, target, tiny_fit, replace(RECOMMENDED, steps=10, fidelity=amount))[0] for amount in (1.0, 0.0)
    )
    assert exact.search_l2 == pytest.approx(plain.search_l2, rel=0.05)  # the error before the correction
    assert exact.max_error < 0.5 < plain.max_error
    torch.testing.assert_close(plain.residual, target[0] - downsample(plain.image, size=(8, 8)), atol=1e-6, rtol=0)
    assert plain.residual_all == pytest.approx(plain.l2**0.5, rel=1e-4)
    assert "exact" in exact.summary
    assert "worst pixel off by" in plain.summary


@pytest.mark.parametrize("shape", [(32, 32), (16, 8), (100, 100), (3, 5)])
def test_enlarge_sharp_downsamples_to_its_input(shape):
    small = 0.2 + 0.6 * torch.rand(2, 3, *shape, generator=random(5))
    large = (shape[0] * 10, shape[1] * 10)
    enlarged = enlarge_sharp(small, large)
    assert enlarged.shape[-2:] == large
    torch.testing.assert_close(downsample(enlarged, size=shape), small, atol=0.06, rtol=0)
    torch.testing.assert_close(enlarge_sharp(small[1:], large), enlarged[1:])  # each image alone


def test_enlarge_sharp_is_closer_to_a_slanted_edge_than_bicubic():
    """The picture of least total variation has less than 0.4 of the squared error."""
    y, x = (torch.arange(256) + 0.5)[:, None] / 256, (torch.arange(256) + 0.5)[None] / 256
    edge = torch.sigmoid((x - 0.3 - 0.45 * y) * 400).expand(1, 3, 256, 256) * 0.6 + 0.2
    small = downsample(edge, size=(32, 32))
    errors = [float((each(small, (256, 256)) - edge).square().mean()) for each in (enlarge, enlarge_sharp)]
    assert errors[1] < 0.4 * errors[0]


def test_enlarge_sharp_preserves_constants():
    torch.testing.assert_close(enlarge_sharp(torch.full((1, 3, 8, 8), 0.4), (64, 64)), torch.full((1, 3, 64, 64), 0.4))

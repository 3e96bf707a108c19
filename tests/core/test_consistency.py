"""Taking the remaining error off the picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pulse_core.degradations import parse_degradation, through
from pulse_core.degradations.bicubic import size_matrix
from pulse_core.degradations.mask import Mask
from pulse_core.latent_search.config import RECOMMENDED
from pulse_core.latent_search.consistency import correct
from pulse_core.latent_search.loop import search


@pytest.fixture
def pair():
    """A picture, and a target that it nearly scales down to."""
    random = torch.Generator().manual_seed(0)
    image = 0.3 + 0.4 * torch.rand(1, 3, 64, 64, generator=random)
    down = through(None, (8, 8), (64, 64))
    return image, down.measure(image) + 0.02 * torch.randn(1, 3, 8, 8, generator=random), down


def error(image, target, down):
    return float((down.measure(image) - target).abs().max())


def test_all_of_it_is_exact_to_8_bits(pair):
    image, target, down = pair
    assert error(image, target, down) > 0.02
    assert error(correct(image, target, down, 1.0), target, down) < 0.5 / 255


def test_half_of_it_is_half(pair):
    image, target, down = pair
    after = target - down.measure(correct(image, target, down, 0.5))
    torch.testing.assert_close(after, (target - down.measure(image)) / 2, atol=1e-4, rtol=0)


def test_what_the_measurement_does_not_see_stays(pair):
    image, target, down = pair
    change = (correct(image, target, down, 1.0) - image).double()
    matrix = torch.from_numpy(size_matrix(64, 8))
    seen = torch.linalg.pinv(matrix) @ matrix  # projects onto what it sees of an axis
    torch.testing.assert_close(seen @ change @ seen.mT, change, atol=1e-4, rtol=0)


def test_colours_stay_colours_and_get_as_close_as_they_can(pair):
    _, target, down = pair
    image = torch.ones(1, 3, 64, 64)
    target = target.clone()
    target[..., 0, 0] = 1.5  # beyond what any colours scale down to
    better = correct(image, target, down, 1.0)
    assert float(better.max()) <= 1
    assert (down.measure(better) - target).square().mean() < (down.measure(image) - target).square().mean()


def test_noise_is_left_in_the_error(pair):
    image, target, _ = pair
    noisy = through(parse_degradation("noise(0.01)"), (8, 8), (64, 64))
    left = (noisy.measure(correct(image, target, noisy, 1.0)) - target).square().mean()
    assert float(left) == pytest.approx(1e-4, rel=0.1)
    quiet = through(parse_degradation("noise(0.5)"), (8, 8), (64, 64))
    torch.testing.assert_close(correct(image, target, quiet, 1.0), image, atol=1e-5, rtol=0)


def test_hidden_pixels_change_nothing(pair):
    image, target, down = pair
    mask = torch.ones(8, 8)
    mask[4:] = 0
    hidden = through(Mask(mask), (8, 8), (64, 64))
    changed = correct(image, target, hidden, 1.0, hidden.trust(target))
    assert (changed - image)[..., 48:, :].abs().max() < 0.02
    assert error(changed[..., :24, :], target[..., :3, :], through(None, (3, 8), (24, 64))) < 0.05
    assert (down.measure(changed) - target)[..., :3, :].abs().max() < 0.01


def test_what_is_hidden_may_be_wrong_and_hinders_nothing(pair):
    image, target, down = pair
    mask = torch.ones(8, 8)
    mask[4:] = 0
    hidden = through(Mask(mask), (8, 8), (64, 64))
    spoiled = target.clone()
    spoiled[..., 4:, :] = 0.0
    changed = correct(image, spoiled, hidden, 1.0, hidden.trust(spoiled))
    assert (down.measure(changed) - target)[..., :4, :].abs().max() < 0.5 / 255


def test_a_search_reports_both_errors(tiny, tiny_fit):
    target = 0.4 + 0.2 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    exact, plain = (
        search(tiny, target, tiny_fit, replace(RECOMMENDED, steps=10, consistency=amount))[0] for amount in (1.0, 0.0)
    )
    assert exact.search_l2 == plain.l2 == plain.search_l2
    assert exact.l2 < plain.l2 / 50
    assert exact.converged == plain.converged

"""Glasses: a direction of W with two modes, and the searches that begin in one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pulse_core.errors import CheckpointError, SettingError
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.latents.attributes import Attribute, fit_attribute
from pulse_core.latents.encoder.network import Encoder
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.latents.latent import Latent

WEIGHTS = Path(__file__).parents[2] / "weights" / "gaussian"


def random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def target():
    return torch.rand(3, 8, 8, generator=random(2))


@pytest.fixture
def knowing(tiny_fit):
    """A fit with an encoder, whose samples with and without glasses differ along one direction."""
    encoder = Encoder(len(tiny_fit.mean), (32, 32)).initialise(random(3)).with_signs(tiny_fit.signs)
    white = torch.randn(2000, len(tiny_fit.mean), generator=random(1))
    attribute = fit_attribute(white, white[:, 1] - white[:, 3] > 1, tiny_fit.axes, leading=8, ridge=0.1)
    return replace(tiny_fit, glasses=attribute, encoder=encoder)


def along(fit, ws):
    """The coordinate of the mean style along the direction."""
    return float((fit.whiten(ws) @ fit.glasses.unit(fit.axes)).mean())


def test_the_direction_and_its_modes_are_found(knowing):
    unit = knowing.glasses.unit(knowing.axes)
    expected = torch.zeros_like(unit)
    expected[1], expected[3] = 0.5**0.5, -(0.5**0.5)
    assert float(unit @ expected) > 0.99
    without, with_ = knowing.glasses.modes.tolist()
    assert without[0] < 0 < with_[0]
    assert max(without[1], with_[1]) < 1


def test_a_mode_has_its_mean_and_standard_deviation(knowing):
    white = torch.randn(5000, len(knowing.mean), generator=random())
    for present, (mean, std) in enumerate(knowing.glasses.modes.tolist()):
        mode = knowing.glasses.mode(knowing.axes, present=bool(present))
        moved = mode.sample(white)
        assert float((moved @ mode.unit).mean()) == pytest.approx(mean, abs=0.03)
        assert float((moved @ mode.unit).std()) == pytest.approx(std, abs=0.03)
        change = moved - white
        torch.testing.assert_close(change, (change @ mode.unit)[:, None] * mode.unit, atol=1e-5, rtol=0)
        at_mean = mode.at_mean(white) @ mode.unit
        torch.testing.assert_close(at_mean, torch.full_like(at_mean, mean), atol=1e-5, rtol=0)


def test_distances_are_those_of_the_modes_gaussian(knowing):
    mode = knowing.glasses.mode(knowing.axes, present=True)
    covariance = torch.eye(len(mode.unit)) + (mode.std**2 - 1) * torch.outer(mode.unit, mode.unit)
    difference = torch.randn(4, len(mode.unit), generator=random())
    expected = (difference @ torch.linalg.inv(covariance) * difference).sum(1)
    torch.testing.assert_close(mode.squared_distance(difference), expected, rtol=1e-4, atol=1e-4)


def test_the_arbitrary_signs_of_principal_axes_do_not_matter(knowing):
    axes, spread = knowing.axes
    flipped = (axes * torch.where(torch.arange(len(spread)) % 2 == 0, 1, -1), spread)
    here = knowing.glasses.unit(knowing.axes) * spread @ axes.mT
    there = knowing.glasses.unit(flipped) * spread @ flipped[0].mT
    torch.testing.assert_close(here, there)


@pytest.mark.parametrize("init", ["encoder", "random"])
@pytest.mark.parametrize("space", ["W+", "W", "staged"])
def test_a_search_begins_with_or_without(tiny, knowing, target, init, space):
    config = replace(RECOMMENDED, steps=6, init=init, latent_space=space)
    found = {
        choice: search(tiny, target, knowing, replace(config, glasses=choice))[0]
        for choice in ("auto", "with", "without")
    }
    assert along(knowing, found["with"].ws) > along(knowing, found["auto"].ws) > along(knowing, found["without"].ws)
    (unknowing,) = search(tiny, target, replace(knowing, glasses=None), config)
    assert torch.equal(unknowing.image, found["auto"].image)


def test_without_steps_the_encoders_latent_moves_to_the_modes_mean(tiny, knowing, target):
    (found,) = search(tiny, target, knowing, replace(RECOMMENDED, steps=0, glasses="with"))
    assert along(knowing, found.ws) == pytest.approx(float(knowing.glasses.modes[1, 0]), abs=1e-3)


def test_the_prior_holds_the_mode(tiny, knowing, target):
    """A picture that says nothing leaves a face where its prior has it, however long the search."""
    grey = torch.full_like(target, 0.5)
    config = replace(RECOMMENDED, steps=60, sigma_start=10.0, sigma_end=10.0, prior_sample_scale=0.0, glasses="with")
    (found,) = search(tiny, grey, knowing, config)
    assert along(knowing, found.ws) == pytest.approx(float(knowing.glasses.modes[1, 0]), abs=0.1)


def test_batches_and_candidates_have_them_too(tiny, knowing, target):
    config = replace(RECOMMENDED, steps=6, glasses="with", batch_size=2)
    together = search(tiny, [target, target.flip(-1)], knowing, config)
    for solution, picture in zip(together, (target, target.flip(-1)), strict=True):
        (alone,) = search(tiny, picture, knowing, config)
        torch.testing.assert_close(solution.ws, alone.ws, atol=1e-5, rtol=0)
    tried = replace(config, candidates=3, trial_steps=2)
    (with_,) = search(tiny, target, knowing, tried)
    (without,) = search(tiny, target, knowing, replace(tried, glasses="without"))
    assert along(knowing, with_.ws) > along(knowing, without.ws)


def test_searches_that_can_have_none_refuse_them(tiny, tiny_fit, knowing, target):
    with pytest.raises(SettingError, match="does not know glasses"):
        search(tiny, target, tiny_fit, replace(RECOMMENDED, glasses="without"))
    given = Latent(torch.zeros(1, tiny.num_ws, tiny.w_dim))
    with pytest.raises(SettingError, match="begins at a given latent"):
        search(tiny, target, knowing, replace(RECOMMENDED, glasses="with"), init_latent=given)
    for config in (PUBLISHED, replace(RECOMMENDED, prior="shell")):
        with pytest.raises(SettingError, match="the prior whitened"):
            replace(config, glasses="with")
    with pytest.raises(SettingError, match="auto, with, without"):
        replace(RECOMMENDED, glasses="yes")


def test_a_file_keeps_them(knowing, tmp_path):
    path = tmp_path / "a.gaussian.safetensors"
    knowing = replace(knowing, encoder=None)
    knowing.save(path)
    again = LatentGaussian.load(path)
    assert again.glasses is not None
    assert torch.equal(again.glasses.direction, knowing.glasses.direction)
    assert torch.equal(again.glasses.modes, knowing.glasses.modes)
    assert again.digest == knowing.digest != replace(knowing, glasses=None).digest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("glasses.modes", None),
        ("glasses.direction", None),
        ("glasses.direction", torch.zeros(3)),
        ("glasses.modes", torch.zeros(4)),
        ("glasses.modes", torch.full((2, 2), torch.nan)),
        ("glasses.modes", torch.tensor([[0.0, 1.0], [1.0, -1.0]])),
        ("glasses.direction", 0),
        ("glasses.other", torch.zeros(2)),
    ],
)
def test_a_damaged_file_is_refused(knowing, tmp_path, name, value):
    path = tmp_path / "a.gaussian.safetensors"
    knowing.save(path)
    tensors = load_file(path)
    old = tensors.pop(name, None)
    new = torch.zeros_like(old) if isinstance(value, int) else value
    save_file(tensors if new is None else {**tensors, name: new}, path)
    with pytest.raises(CheckpointError):
        LatentGaussian.load(path)


def test_the_shipped_fit_of_ffhq_mobile_knows_them():
    (path,) = WEIGHTS.glob("*.gaussian.safetensors")
    attribute = LatentGaussian.load(path).glasses
    assert isinstance(attribute, Attribute)
    (without, _), (with_, _) = attribute.modes.tolist()
    assert with_ - without > 1.5

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
    """A fit whose samples with and without glasses differ along one direction."""
    white = torch.randn(2000, len(tiny_fit.mean), generator=random(1))
    attribute = fit_attribute(white, white[:, 1] - white[:, 3] > 1, tiny_fit.axes, leading=8, ridge=0.1)
    return replace(tiny_fit, glasses=attribute)


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


def test_samples_of_the_prior_become_samples_of_the_mode(knowing):
    white = torch.randn(5000, len(knowing.mean), generator=random())
    unit = knowing.glasses.unit(knowing.axes)
    for present, (mean, std) in enumerate(knowing.glasses.modes.tolist()):
        moved = knowing.glasses.to_mode(white, knowing.axes, bool(present), sampled=True)
        assert float((moved @ unit).mean()) == pytest.approx(mean, abs=0.03)
        assert float((moved @ unit).std()) == pytest.approx(std, abs=0.03)
        change = moved - white
        torch.testing.assert_close(change, (change @ unit)[:, None] * unit, atol=1e-5, rtol=0)
        exact = knowing.glasses.to_mode(white, knowing.axes, bool(present), sampled=False) @ unit
        torch.testing.assert_close(exact, torch.full_like(exact, mean), atol=1e-5, rtol=0)


def test_the_arbitrary_signs_of_principal_axes_do_not_matter(knowing):
    axes, spread = knowing.axes
    flipped = (axes * torch.where(torch.arange(len(spread)) % 2 == 0, 1, -1), spread)
    here = knowing.glasses.unit(knowing.axes) * spread @ axes.mT
    there = knowing.glasses.unit(flipped) * spread @ flipped[0].mT
    torch.testing.assert_close(here, there)


def test_a_search_begins_with_or_without(tiny, knowing, target):
    found = {
        choice: search(tiny, target, knowing, replace(RECOMMENDED, steps=6, glasses=choice))[0]
        for choice in ("auto", "with", "without")
    }
    assert along(knowing, found["with"].ws) > along(knowing, found["auto"].ws) > along(knowing, found["without"].ws)
    (unknowing,) = search(tiny, target, replace(knowing, glasses=None), replace(RECOMMENDED, steps=6))
    assert torch.equal(unknowing.image, found["auto"].image)


def test_a_latent_to_begin_with_gets_them_too(tiny, knowing, target):
    ws = knowing.to_ws(torch.randn(1, tiny.num_ws, tiny.w_dim, generator=random()))
    config = replace(RECOMMENDED, steps=0, glasses="with")
    (found,) = search(tiny, target, knowing, config, init_latent=Latent(ws))
    assert along(knowing, found.ws) == pytest.approx(float(knowing.glasses.modes[1, 0]), abs=1e-3)
    unit = knowing.glasses.unit(knowing.axes)
    change = knowing.whiten(found.ws) - knowing.whiten(ws[0])  # the same for every layer, along the direction
    torch.testing.assert_close(change, (change[0] @ unit) * unit.expand_as(change), atol=1e-4, rtol=0)


def test_generators_and_priors_that_know_no_glasses_refuse_them(tiny, tiny_fit, target):
    with pytest.raises(SettingError, match="does not know glasses"):
        search(tiny, target, tiny_fit, replace(RECOMMENDED, glasses="without"))
    with pytest.raises(SettingError, match="sphere"):
        replace(PUBLISHED, glasses="with")
    with pytest.raises(SettingError, match="auto, with, without"):
        replace(RECOMMENDED, glasses="yes")


def test_a_file_keeps_them(knowing, tmp_path):
    path = tmp_path / "a.gaussian.safetensors"
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
        ("glasses.other", torch.zeros(2)),
    ],
)
def test_a_damaged_file_is_refused(knowing, tmp_path, name, value):
    path = tmp_path / "a.gaussian.safetensors"
    knowing.save(path)
    tensors = load_file(path)
    tensors.pop(name, None)
    save_file(tensors if value is None else {**tensors, name: value}, path)
    with pytest.raises(CheckpointError):
        LatentGaussian.load(path)


def test_the_shipped_fit_of_ffhq_mobile_knows_them():
    (path,) = WEIGHTS.glob("*.gaussian.safetensors")
    attribute = LatentGaussian.load(path).glasses
    assert isinstance(attribute, Attribute)
    (without, _), (with_, _) = attribute.modes.tolist()
    assert with_ - without > 1.5

"""Coarse looks: near enough, corrected by whole ones, and given up where they do not tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from zoo import ZOO

from pulse_core.degradations import Chain
from pulse_core.degradations.bicubic import BicubicDownsample, downsample
from pulse_core.degradations.blur import GaussianBlur
from pulse_core.images import to_rgb
from pulse_core.latent_search.coarse import CoarseLook
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.loading import generator_from
from pulse_core.sampling import sample


def drawn(generator, seeds=range(1)):
    return torch.stack([ws for _, ws in sample(generator, seeds)])


def pictures(generator, ws):
    return to_rgb((generator.synthesis(ws) + 1) / 2)


@pytest.mark.parametrize("name", [name for name in ZOO if "stylegan3" not in name])
def test_a_coarse_picture_of_the_whole_size_is_the_whole_picture(name):
    animal = ZOO[name]()
    generator = generator_from(animal.tensors, animal.facts, name=name)
    ws = torch.randn(2, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(0))
    noise = generator.synthesis.const_noise()
    whole = generator.synthesis(ws, noise=noise)
    assert torch.equal(generator.synthesis.render_coarse(ws, noise, generator.img_resolution), whole)
    half = generator.synthesis.render_coarse(ws, noise, generator.img_resolution // 2)
    assert half.shape[-2:] == (whole.shape[-2] // 2, whole.shape[-1] // 2)


def test_a_family_without_one_says_so():
    animal = ZOO["stylegan3 t"]() if "stylegan3 t" in ZOO else next(ZOO[n]() for n in ZOO if "stylegan3" in n)
    generator = generator_from(animal.tensors, animal.facts, name="no coarse picture")
    assert not CoarseLook(generator, BicubicDownsample(size=(2, 2)), (2, 2)).is_worth_it
    with pytest.raises(TypeError, match="coarse"):
        generator.synthesis.render_coarse(torch.zeros(1, 1, 1), (), 4)


@pytest.mark.weights
def test_the_gradient_of_a_coarse_look_points_the_way_of_the_true_one(ffhq_mobile):
    ws, noise = drawn(ffhq_mobile), ffhq_mobile.synthesis.const_noise()
    target = downsample(pictures(ffhq_mobile, drawn(ffhq_mobile, range(1, 2))), size=(32, 32))
    coarse = CoarseLook(ffhq_mobile, BicubicDownsample(size=(32, 32)), (32, 32))
    assert coarse.is_worth_it
    ws.requires_grad_()
    whole = downsample(to_rgb((ffhq_mobile.synthesis(ws, noise=noise) + 1) / 2), size=(32, 32))
    near = coarse.measure(ws, noise, whole.detach())
    torch.testing.assert_close(near, whole)
    true, cheap = (torch.autograd.grad((seen - target).square().sum(), ws)[0].sum(1) for seen in (whole, near))
    assert F.cosine_similarity(true, cheap) > 0.9


@pytest.mark.weights
def test_between_whole_looks_the_change_is_seen(ffhq_mobile):
    ws, noise = drawn(ffhq_mobile), ffhq_mobile.synthesis.const_noise()
    other = ws.lerp(drawn(ffhq_mobile, range(1, 2)), 0.1)
    measured = [downsample(pictures(ffhq_mobile, each), size=(32, 32)) for each in (ws, other)]
    coarse = CoarseLook(ffhq_mobile, BicubicDownsample(size=(32, 32)), (32, 32))
    torch.testing.assert_close(coarse.measure(ws, noise, measured[0]), measured[0])
    guessed = coarse.measure(other, noise, None)
    assert (guessed - measured[1]).square().sum() < 0.4 * (measured[0] - measured[1]).square().sum()
    torch.testing.assert_close(coarse.measure(other, noise, measured[1]), measured[1])
    assert coarse.is_worth_it


def test_looks_that_miss_half_of_what_changed_are_given_up(tiny):
    ws, noise = drawn(tiny), tiny.synthesis.const_noise()
    coarse = CoarseLook(tiny, BicubicDownsample(size=(4, 4)), (4, 4))
    coarse.measure(ws, noise, torch.zeros(1, 3, 4, 4))
    coarse.measure(ws, noise, torch.ones(1, 3, 4, 4))  # the same latents, and another picture
    assert not coarse.is_worth_it


@pytest.mark.parametrize(
    "degradation", [BicubicDownsample(factor=8), Chain([GaussianBlur(3), BicubicDownsample(size=(4, 4))])]
)
def test_what_is_told_in_pixels_of_the_whole_picture_measures_it_enlarged(tiny, degradation):
    ws, noise = drawn(tiny), tiny.synthesis.const_noise()
    whole = degradation.measure(pictures(tiny, ws))
    coarse = CoarseLook(tiny, degradation, (4, 4))
    torch.testing.assert_close(coarse.measure(ws, noise, whole), whole)


@pytest.fixture
def looks(tiny, monkeypatch):
    """How often the generator rendered its picture, and how often a coarse one."""
    count = {"whole": 0, "coarse": 0}
    render_coarse = tiny.synthesis.render_coarse

    def counted(ws, noise):
        count["whole"] += 1
        return render_coarse(ws, noise, tiny.img_resolution)

    def counted_coarse(ws, noise, side):
        count["coarse"] += 1
        return render_coarse(ws, noise, side)

    monkeypatch.setattr(tiny.synthesis, "render", counted)
    monkeypatch.setattr(tiny.synthesis, "render_coarse", counted_coarse)
    return count


def test_the_whole_picture_is_looked_at_as_often_as_the_settings_say(tiny, tiny_fit, looks):
    target = downsample(pictures(tiny, drawn(tiny, range(3, 4))), factor=8).clamp(0, 1)
    looks.update(whole=0, coarse=0)
    config = replace(RECOMMENDED, steps=20, eps=0.0, patience=1.0, settled=0.0, whole_every=4)
    search(tiny, target, tiny_fit, config)
    assert looks == {"whole": 4 + 4 + 1, "coarse": 16}  # steps 0, 4, 8, 12; the last fifth; the last result
    for every_step in (replace(config, whole_every=1), replace(PUBLISHED, steps=20)):
        looks.update(whole=0, coarse=0)
        search(tiny, target, tiny_fit, every_step)
        assert looks == {"whole": 21, "coarse": 0}


def test_a_result_is_a_whole_picture_and_its_error_is_true(tiny, tiny_fit):
    target = downsample(pictures(tiny, drawn(tiny, range(3, 4))), factor=8).clamp(0, 1)
    (found,) = search(tiny, target, tiny_fit, replace(RECOMMENDED, steps=20, eps=1e-3))
    image = pictures_of(tiny, found)
    torch.testing.assert_close(image, found.image)
    assert float((downsample(image, factor=8) - target[0]).square().mean()) == pytest.approx(found.l2, rel=1e-4)


def pictures_of(generator, found):
    image = generator.synthesis(found.ws[None], noise=[noise[None] for noise in found.noise])
    return to_rgb((image + 1) / 2).clamp(0, 1)[0]


def test_a_search_stops_when_all_is_found_and_settled(tiny, tiny_fit):
    target = downsample(pictures(tiny, drawn(tiny, range(3, 4))), factor=8).clamp(0, 1)
    config = replace(RECOMMENDED, steps=100, eps=0.1, variety=0.3)
    (early,) = search(tiny, target, tiny_fit, config)
    (full,) = search(tiny, target, tiny_fit, replace(config, settled=0.0))
    assert 70 <= early.steps < full.steps == 100
    assert early.converged
    assert early.distance == pytest.approx(full.distance, rel=0.1)
    (never,) = search(tiny, target, tiny_fit, replace(config, eps=0.0, patience=1.0))
    assert never.steps == 100  # not found, so not settled

"""Low-resolution evaluations: accuracy, correction by full evaluations, and when they are given up."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from zoo import ZOO

from pulse_core.degradations import Chain
from pulse_core.degradations.bicubic import BicubicDownsample, downsample
from pulse_core.degradations.blur import GaussianBlur
from pulse_core.latent_search import low_resolution
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.latent_search.low_resolution import LowResolution, Plan
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.latents.sampling import sample
from pulse_core.loading.load import generator_from
from pulse_core.pictures.images import to_rgb


def low_resolution_of(generator, side, degradation=None):
    degradation = degradation or BicubicDownsample(size=(side, side))
    gaussian = LatentGaussian(torch.zeros(generator.w_dim), torch.ones(generator.w_dim))
    return LowResolution(generator, gaussian, degradation, torch.zeros(1, 3, side, side))


def evaluate(low, ws, noise, anchor=None):
    with low.anchored(anchor):
        return low.forward(ws, noise)


def sampled(generator, seeds=range(1)):
    return torch.stack([ws for _, ws in sample(generator, seeds)])


def pictures(generator, ws):
    return to_rgb((generator.synthesis(ws) + 1) / 2)


@pytest.mark.parametrize("name", [name for name in ZOO if "stylegan3" not in name])
def test_low_resolution_rendering_at_full_size_equals_the_full_picture(name):
    example = ZOO[name]()
    generator = generator_from(example.tensors, example.metadata, name=name)
    ws = torch.randn(2, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(0))
    noise = generator.synthesis.const_noise()
    full = generator.synthesis(ws, noise=noise)
    assert torch.equal(generator.synthesis.render_low_resolution(ws, noise, generator.img_resolution), full)
    half = generator.synthesis.render_low_resolution(ws, noise, generator.img_resolution // 2)
    assert half.shape[-2:] == (full.shape[-2] // 2, full.shape[-1] // 2)


def test_families_without_low_resolution_rendering_refuse_it():
    example = ZOO["stylegan3 t"]() if "stylegan3 t" in ZOO else next(ZOO[n]() for n in ZOO if "stylegan3" in n)
    generator = generator_from(example.tensors, example.metadata, name="full size only")
    assert not low_resolution_of(generator, 2).is_worth_it
    with pytest.raises(TypeError, match=r"low.resolution"):
        generator.synthesis.render_low_resolution(torch.zeros(1, 1, 1), (), 4)


@pytest.mark.weights
def test_the_low_resolution_gradient_is_aligned_with_the_full_one(ffhq_mobile):
    ws, noise = sampled(ffhq_mobile), ffhq_mobile.synthesis.const_noise()
    target = downsample(pictures(ffhq_mobile, sampled(ffhq_mobile, range(1, 2))), size=(32, 32))
    low = low_resolution_of(ffhq_mobile, 32)
    low.choose_side(1.0)
    assert low.is_worth_it
    ws.requires_grad_()
    full = downsample(to_rgb((ffhq_mobile.synthesis(ws, noise=noise) + 1) / 2), size=(32, 32))
    low_y = evaluate(low, ws, noise, full.detach())
    torch.testing.assert_close(low_y, full)
    full_gradient, low_gradient = (
        torch.autograd.grad((y - target).square().sum(), ws)[0].sum(1) for y in (full, low_y)
    )
    assert F.cosine_similarity(full_gradient, low_gradient) > 0.9


@pytest.mark.weights
def test_changes_between_full_evaluations_are_followed(ffhq_mobile):
    ws, noise = sampled(ffhq_mobile), ffhq_mobile.synthesis.const_noise()
    other = ws.lerp(sampled(ffhq_mobile, range(1, 2)), 0.1)
    downscaled = [downsample(pictures(ffhq_mobile, each), size=(32, 32)) for each in (ws, other)]
    low = low_resolution_of(ffhq_mobile, 32)
    low.choose_side(1.0)
    torch.testing.assert_close(evaluate(low, ws, noise, downscaled[0]), downscaled[0])
    predicted = evaluate(low, other, noise, None)
    assert (predicted - downscaled[1]).square().sum() < 0.4 * (downscaled[0] - downscaled[1]).square().sum()
    torch.testing.assert_close(evaluate(low, other, noise, downscaled[1]), downscaled[1])
    assert low.is_worth_it


def test_low_resolution_is_given_up_where_it_misses_half_of_a_change(tiny):
    ws, noise = sampled(tiny), tiny.synthesis.const_noise()
    low = low_resolution_of(tiny, 4)
    low.choose_side(1.0)
    evaluate(low, ws, noise, torch.zeros(1, 3, 4, 4))
    evaluate(low, ws, noise, torch.ones(1, 3, 4, 4))  # the same latents with another picture
    assert not low.is_worth_it


def test_images_that_miss_half_of_a_change_are_twice_as_large_from_then_on(tiny):
    ws, noise = sampled(tiny), tiny.synthesis.const_noise()
    low = low_resolution_of(tiny, 4)
    assert low.plan(0, 100, 10) is Plan.ANCHOR
    assert low.side == 4
    evaluate(low, ws, noise, torch.zeros(1, 3, 4, 4))
    evaluate(low, ws, noise, torch.ones(1, 3, 4, 4))
    assert low.is_worth_it
    assert low.plan(1, 100, 10) is Plan.ANCHOR
    assert low.side == 8
    evaluate(low, ws, noise, torch.zeros(1, 3, 4, 4))
    assert low.plan(2, 100, 10) is Plan.LOW
    evaluate(low, ws, noise, torch.ones(1, 3, 4, 4))
    assert low.plan(3, 100, 10) is Plan.FULL
    low.restart()
    assert low.plan(0, 100, 10) is Plan.ANCHOR
    assert low.side == 4


@pytest.mark.parametrize(
    "degradation", [BicubicDownsample(factor=8), Chain([GaussianBlur(3), BicubicDownsample(size=(4, 4))])]
)
def test_degradations_in_full_size_pixels_see_the_enlarged_picture(tiny, degradation):
    ws, noise = sampled(tiny), tiny.synthesis.const_noise()
    full = degradation.forward(pictures(tiny, ws))
    low = low_resolution_of(tiny, 4, degradation)
    low.choose_side(1.0)
    torch.testing.assert_close(evaluate(low, ws, noise, full), full)


def test_the_low_resolution_size_grows_once(tiny):
    low = low_resolution_of(tiny, 4)
    assert [low.choose_side(progress / 10) for progress in range(10)] == [True] + [False] * 4 + [True] + [False] * 4


@pytest.fixture
def rendered(tiny, monkeypatch):
    """The sizes of the pictures that the generator rendered."""
    sides = []
    render_low_resolution = tiny.synthesis.render_low_resolution

    def counted_full(ws, noise):
        sides.append(tiny.img_resolution)
        return render_low_resolution(ws, noise, tiny.img_resolution)

    def counted_low(ws, noise, side):
        sides.append(side)
        return render_low_resolution(ws, noise, side)

    monkeypatch.setattr(tiny.synthesis, "render", counted_full)
    monkeypatch.setattr(tiny.synthesis, "render_low_resolution", counted_low)
    return sides


def test_full_evaluations_follow_full_every(tiny, tiny_fit, rendered, monkeypatch):
    monkeypatch.setattr(low_resolution, "_MISSED", torch.inf)  # with random weights, details come from fine layers
    target = downsample(pictures(tiny, sampled(tiny, range(3, 4))), factor=8).clamp(0, 1)
    config = replace(RECOMMENDED, steps=20, full_every=4)
    rendered.clear()
    search(tiny, target, tiny_fit, config)
    # steps 0, 4, 8, 10 (the size changes), 12, 16, and the last result
    assert [rendered.count(side) for side in (32, 4, 8)] == [7, 10, 10]
    for every_step in (replace(config, full_every=1), replace(PUBLISHED, steps=20)):
        rendered.clear()
        search(tiny, target, tiny_fit, every_step)
        assert rendered == [32] * 21


def test_zero_steps_render_once(tiny, tiny_fit, rendered):
    target = downsample(pictures(tiny, sampled(tiny, range(3, 4))), factor=8).clamp(0, 1)
    rendered.clear()
    (found,) = search(tiny, target, tiny_fit, replace(RECOMMENDED, steps=0))
    assert rendered == [32]
    assert found.steps == 0
    assert found.max_error <= 1


def test_fidelity_0_returns_the_picture_of_the_generator_and_its_error(tiny, tiny_fit):
    target = downsample(pictures(tiny, sampled(tiny, range(3, 4))), factor=8).clamp(0, 1)
    (found,) = search(tiny, target, tiny_fit, replace(RECOMMENDED, steps=20, fidelity=0.0))
    image = pictures_of(tiny, found)
    torch.testing.assert_close(image, found.image)
    torch.testing.assert_close(target[0] - downsample(image, factor=8), found.residual, atol=1e-6, rtol=0)
    assert float(found.residual.square().mean()) == pytest.approx(found.l2, rel=1e-4)


def pictures_of(generator, found):
    image = generator.synthesis(found.ws[None], noise=[noise[None] for noise in found.noise])
    return to_rgb((image + 1) / 2).clamp(0, 1)[0]

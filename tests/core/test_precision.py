"""16-bit features: near float32's pictures and gradients, whatever their size, and left out where they do not fit."""

from __future__ import annotations

import pytest
import torch
from zoo import ZOO

from pulse_core.latent_search import precision
from pulse_core.latents.gaussian import fit_gaussian
from pulse_core.loading.load import generator_from

FAMILIES = [name for name in ZOO if "stylegan3" not in name]


def made(name):
    example = ZOO[name]()
    generator = generator_from(example.tensors, example.metadata, name=name)
    return generator, fit_gaussian(generator, 300, class_index=1 if generator.c_dim else None)


def gradients(network, generator, gaussian, side, size=1.0):
    """The picture, and the gradients of ws and of the noise maps that it has."""
    random = torch.Generator().manual_seed(1)
    white = torch.randn(2, 1, generator.w_dim, generator=random)
    ws = gaussian.colour(white).repeat(1, generator.num_ws, 1).requires_grad_()
    noise = [torch.randn(2, 1, *shape, generator=random).requires_grad_() for shape in generator.noise_shapes]
    image = precision.render(network, ws, noise, side)
    loss = size * (image * torch.randn(image.shape, generator=random)).sum()
    return image, [each for each in torch.autograd.grad(loss, [ws, *noise], allow_unused=True) if each is not None]


def off(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_and_gradients_are_near_those_of_float32(name, dtype):
    generator, gaussian = made(name)
    side, most = generator.img_resolution // 2, {torch.float16: 0.02, torch.bfloat16: 0.1}[dtype]
    image, wanted = gradients(generator.synthesis, generator, gaussian, side)
    small, found = gradients(generator.synthesis.with_feature_dtype(dtype), generator, gaussian, side)
    assert small.dtype == torch.float32
    assert off(small, image) < most
    assert all(each.dtype == torch.float32 for each in found)
    # a sign that rounding turns moves a small generator's gradient; the direction stays
    for one, other in zip(found, wanted, strict=True):
        assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 1 - 3 * most


@pytest.mark.parametrize("size", [1e-9, 1e7])
def test_gradients_of_any_size_fit(size):
    generator, gaussian = made("stylegan2 skip")
    network, side = generator.synthesis.with_feature_dtype(torch.float16), generator.img_resolution // 2
    _, wanted = gradients(network, generator, gaussian, side)
    _, found = gradients(network, generator, gaussian, side, size)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one / size, other, rtol=1e-3, atol=float(1e-4 * other.abs().max()))


def test_images_of_a_batch_do_not_meet():
    generator, gaussian = made("mobilestylegan")
    network, side = generator.synthesis.with_feature_dtype(torch.float16), generator.img_resolution // 2
    ws = gaussian.colour(torch.randn(2, 1, generator.w_dim)).repeat(1, generator.num_ws, 1)
    noise = [torch.zeros(2, 1, *shape) for shape in generator.noise_shapes]
    found = []
    for weight in (1.0, 1e6):  # of the other image's loss
        ws = ws.detach().requires_grad_()
        image = precision.render(network, ws, noise, side)
        (gradient,) = torch.autograd.grad(image[0].sum() + weight * image[1].sum(), ws)
        found.append(gradient[0])
    assert torch.equal(*found)


@pytest.mark.parametrize(("factor", "dtype"), [(1.0, torch.float16), (1e6, torch.bfloat16), (1e37, torch.float32)])
def test_the_finest_type_that_holds_the_features_is_taken(factor, dtype):
    generator, gaussian = made("stylegan2 skip")
    with torch.no_grad():
        for block in generator.synthesis.blocks:
            block.conv1.bias *= factor
            block.torgb.weight /= factor  # what comes out stays about as large
    network = precision.fitting(generator.synthesis, gaussian, generator.img_resolution // 2)
    assert network.const.dtype == dtype
    assert (network is generator.synthesis) == (dtype == torch.float32)


def test_a_cpu_computes_in_float32():
    generator, gaussian = made("stylegan2 skip")
    assert precision.network_for(generator.synthesis, gaussian, 8) is generator.synthesis

"""The interface of all families, and their errors for wrong tensors."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_mobile_tensors
from zoo import ZOO

from pulse_core.errors import CheckpointError, SettingError
from pulse_core.generators import FAMILIES, build_generator
from pulse_core.generators.base import SynthesisNetwork
from pulse_core.generators.mapping import draw_labels
from pulse_core.latents.gaussian import fit_gaussian
from pulse_core.loading.load import generator_from

# The contract


@pytest.fixture(params=ZOO, scope="module")
def generator(request):
    """One generator of each family and variant."""
    example = ZOO[request.param]()
    return generator_from(example.tensors, example.metadata, name=request.param)


def ws_of(generator, batch=2):
    return torch.randn(batch, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(1))


def test_every_family_is_covered():
    assert {ZOO[name]().family for name in ZOO} == {family.family for family in FAMILIES}


def test_shapes_and_frozenness(generator):
    image = generator.synthesis(ws_of(generator))
    assert image.shape == (2, generator.img_channels, *generator.size)
    assert generator.img_resolution == max(generator.size)
    assert not generator.training
    assert not any(p.requires_grad for p in generator.parameters())
    assert len(generator.noise_shapes) == len(generator.synthesis.noise_shapes)
    assert len(generator.content_hash) == 64


def test_style_sides_grow_to_the_images(generator):
    sides = generator.style_sides
    assert len(sides) == generator.num_ws
    assert list(sides) == sorted(sides)
    assert 4 <= sides[0] < sides[-1] <= generator.img_resolution
    assert all(max(shape) in sides for shape in generator.noise_shapes)


def test_default_style_sides():
    assert SynthesisNetwork(512, 18, (1024, 512), 3).style_sides[:5] == (4, 4, 8, 8, 16)
    assert SynthesisNetwork(512, 16, (64, 64), 3).style_sides[-5:] == (16, 32, 32, 64, 64)
    assert min(SynthesisNetwork(512, 16, (64, 64), 3).style_sides) == 4


def test_images_of_a_batch_are_independent(generator):
    ws = ws_of(generator)
    torch.testing.assert_close(generator.synthesis(ws)[1:], generator.synthesis(ws[1:]), atol=1e-5, rtol=1e-5)


def test_gradients_reach_ws_and_noise(generator):
    ws = ws_of(generator).requires_grad_()
    noise = [torch.randn(2, 1, *shape, requires_grad=True) for shape in generator.noise_shapes]
    generator.synthesis(ws, noise=noise).square().mean().backward()
    assert ws.grad.flatten(2).abs().amax(2).min() > 0  # every style vector of every image
    assert all(n.grad.abs().max() > 0 for n in noise)


def test_noise_modes(generator):
    ws = ws_of(generator)
    const, none = generator.synthesis(ws), generator.synthesis(ws, noise_mode="none")
    torch.testing.assert_close(generator.synthesis(ws), const, atol=0, rtol=0)
    assert bool((const - none).abs().max() > 0) == bool(generator.noise_shapes)
    zeros = [torch.zeros(1, 1, *shape) for shape in generator.noise_shapes]
    torch.testing.assert_close(generator.synthesis(ws, noise=zeros), none, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(generator.synthesis(ws, noise=[None] * len(zeros)), const, atol=0, rtol=0)
    seeded = [generator.synthesis(ws, "random", generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    torch.testing.assert_close(seeded[0], seeded[1], atol=0, rtol=0)
    assert bool((seeded[0] - seeded[2]).abs().max() > 0) == bool(generator.noise_shapes)


def test_random_noise_leaves_the_global_state_alone(generator):
    before = torch.get_rng_state()
    generator.synthesis(ws_of(generator), noise_mode="random")
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_noise_is_refused(generator):
    with pytest.raises(SettingError, match=r"noise_mode is 'loud'.*'const', 'random' or 'none'"):
        generator.synthesis(ws_of(generator), noise_mode="loud")
    with pytest.raises(SettingError, match="1 noise maps were given"):
        generator.synthesis(ws_of(generator), noise=[None])


def test_truncation_pulls_towards_the_mean(tiny):
    z = torch.randn(3, tiny.z_dim)
    full, none = tiny.mapping(z), tiny.mapping(z, truncation_psi=0)
    torch.testing.assert_close(none, tiny.mapping.w_avg.expand_as(none))
    torch.testing.assert_close(tiny.mapping(z, truncation_psi=0.5), (full + none) / 2)
    part = tiny.mapping(z, truncation_psi=0, truncation_cutoff=2)
    torch.testing.assert_close(part[:, :2], none[:, :2])
    torch.testing.assert_close(part[:, 2:], full[:, 2:])


def test_mapping_accepts_any_float_type_and_returns_its_own(generator):
    random = torch.Generator().manual_seed(0)
    z = torch.randn(2, generator.z_dim, generator=random, dtype=torch.float64)
    c = draw_labels(2, generator.c_dim, None, random)
    ws = generator.mapping(z, c)
    assert (ws.shape, ws.dtype) == ((2, generator.num_ws, generator.w_dim), torch.float32)
    torch.testing.assert_close(generator.synthesis(ws.double()), generator.synthesis(ws), atol=0, rtol=0)


def test_the_fit_inverts_every_style_vector(generator):
    fit = fit_gaussian(generator, 500)
    assert fit.mean.shape == fit.std.shape == (generator.w_dim,)
    assert fit.std.min() > 0
    ws = ws_of(generator)
    torch.testing.assert_close(fit.to_ws(fit.from_ws(ws)), ws, atol=1e-4, rtol=1e-4)


# Wrong tensors


def test_unknown_tensors_name_the_families():
    with pytest.raises(CheckpointError) as caught:
        build_generator({"encoder.weight": torch.zeros(1)}, name="vae")
    assert "'vae' belong to no generator family" in str(caught.value)
    assert "encoder.weight" in str(caught.value)
    assert "mobilestylegan, stylegan1" in str(caught.value)


@pytest.mark.parametrize("name", ["synthesis.conv.weight", "mapping.fc1.bias", "synthesis.to_image.bias"])
def test_a_missing_tensor_is_named(name):
    tensors = tiny_mobile_tensors()
    del tensors[name]
    with pytest.raises(CheckpointError, match=f"mobilestylegan checkpoint has no tensor '{name}'"):
        build_generator(tensors, name="x")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("synthesis.conv.bias", torch.zeros(9), r"'synthesis.conv.bias' has shape \[9\].*\[8\]"),
        ("synthesis.conv.bias", torch.zeros(8, 1), r"'synthesis.conv.bias' has shape \[8, 1\]"),
        ("synthesis.const", torch.zeros(8, 0, 4), r"'synthesis.const' has shape \[8, 0, 4\]"),
        ("synthesis.conv.bias", torch.full((8,), torch.nan), "values that are not finite"),
        ("synthesis.conv.bias", torch.zeros(8, dtype=torch.int32), r"not finite real numbers \(type torch.int32\)"),
        ("synthesis.more", torch.zeros(1), "1 tensors that a mobilestylegan generator does not have.*'synthesis.more'"),
    ],
)
def test_a_wrong_tensor_is_named(name, value, text):
    with pytest.raises(CheckpointError, match=text):
        build_generator({**tiny_mobile_tensors(), name: value}, name="x")


def test_half_precision_weights_are_widened():
    half = {name: tensor.half() for name, tensor in tiny_mobile_tensors().items()}
    generator = build_generator(half, name="half")
    assert {p.dtype for p in generator.parameters()} == {torch.float32}

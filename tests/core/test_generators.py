"""The families against the reference numbers, and the contract that all of them keep."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_mobile_tensors

from pulse_core.errors import CheckpointError, SettingError
from pulse_core.generators import FAMILIES, build_generator
from pulse_core.generators.mobilestylegan import InverseHaar, band_order


@pytest.fixture(scope="module")
def stylegan1(golden):
    """(generator without mapping, golden tensors)."""
    tensors = golden("stylegan1")
    return build_generator({k: v for k, v in tensors.items() if k.startswith("synthesis.")}, name="sg1"), tensors


def noise_of(tensors):
    return [tensors[f"io.noise.{i}"] for i in range(12)]


# StyleGAN1


def test_stylegan1_image_and_blocks(stylegan1):
    generator, tensors = stylegan1
    outputs = {}
    hooks = [
        block.register_forward_hook(lambda _module, _inputs, out: outputs.__setitem__(out.shape[-1], out))
        for block in generator.synthesis.blocks
    ]
    image = generator.synthesis(tensors["io.w_plus"], noise=noise_of(tensors))
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(image, tensors["io.image"], atol=2e-4, rtol=0)
    for side in (4, 8, 16):
        torch.testing.assert_close(outputs[side], tensors[f"io.act.{side}x{side}"], atol=2e-5, rtol=0)
    for side in (32, 64, 128):
        x = outputs[side].flatten(2)
        torch.testing.assert_close(x.mean(2), tensors[f"io.act.{side}x{side}_channel_mean"], atol=2e-5, rtol=0)
        torch.testing.assert_close(x.std(2), tensors[f"io.act.{side}x{side}_channel_std"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("prefix", ["", "g_synthesis.", "synthesis."])
def test_stylegan1_under_every_prefix(stylegan1, prefix):
    generator, tensors = stylegan1
    renamed = {prefix + k.removeprefix("synthesis."): v for k, v in tensors.items() if k.startswith("synthesis.")}
    other = build_generator(renamed, name="other")
    assert other.content_hash == generator.content_hash
    ws = tensors["io.w_plus"]
    torch.testing.assert_close(other.synthesis(ws), generator.synthesis(ws), atol=0, rtol=0)


def test_stylegan1_without_a_mapping_says_so(stylegan1):
    generator, _ = stylegan1
    assert not generator.has_mapping
    with pytest.raises(CheckpointError, match=r"loaded without its mapping network.*put mapping\.pt beside"):
        generator.mapping(torch.randn(1, 512))


def test_stylegan1_mapping_is_the_formula(stylegan1):
    _, tensors = stylegan1
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(512, 512, generator=random, dtype=torch.float64) * 100 for _ in range(8)]
    biases = [torch.randn(512, generator=random, dtype=torch.float64) for _ in range(8)]
    mapping = {f"mapping.dense{i}.weight": w for i, w in enumerate(weights)}
    mapping |= {f"mapping.dense{i}.bias": b for i, b in enumerate(biases)}
    synthesis = {k: v for k, v in tensors.items() if k.startswith("synthesis.")}
    generator = build_generator(synthesis | mapping, name="whole", dtype=torch.float64)
    z = torch.randn(3, 512, generator=random, dtype=torch.float64)
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for weight, bias in zip(weights, biases, strict=True):
        x = x @ weight.T * (2**0.5 / 512**0.5 * 0.01) + bias * 0.01
        x = torch.where(x > 0, x, 0.2 * x)
    torch.testing.assert_close(generator.mapping(z), x[:, None].expand(-1, 12, -1))


def test_stylegan1_mapping_golden(golden):
    tensors = golden("stylegan1")
    if "mapping.dense0.weight" not in tensors:
        pytest.skip("the mapping network's 8 MB are not in the repository: set PULSE_GOLDEN to the complete files")
    generator = build_generator({k: v for k, v in tensors.items() if not k.startswith("io.")}, name="sg1")
    torch.testing.assert_close(generator.mapping(tensors["io.z"])[:, 0], tensors["io.w"], atol=2e-5, rtol=0)


# MobileStyleGAN


def test_inverse_haar_is_orthogonal_and_its_gradient_right():
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64, requires_grad=True)
    y = InverseHaar.apply(x)
    assert y.shape == (2, 2, 6, 10)
    torch.testing.assert_close(y.square().sum(), 4 * x.square().sum())  # the missing 1/2, squared
    assert torch.autograd.gradcheck(InverseHaar.apply, x)


def test_inverse_haar_of_one_band_is_its_pattern():
    patterns = {0: [[1, 1], [1, 1]], 1: [[1, 1], [-1, -1]], 2: [[1, -1], [1, -1]], 3: [[1, -1], [-1, 1]]}
    for band, pattern in patterns.items():
        x = torch.zeros(1, 4, 1, 1)
        x[0, band] = 1
        assert InverseHaar.apply(x)[0, 0].tolist() == pattern


def test_band_order_is_a_permutation_from_channel_triples():
    assert band_order(2).tolist() == [0, 1, 2, 5, 3, 6, 4, 7]


@pytest.mark.weights
def test_ffhq_mobile_agrees_with_openvino(ffhq_mobile, golden):
    tensors = golden("mobilestylegan")
    w = ffhq_mobile.mapping(tensors["z"])
    torch.testing.assert_close(w[:, 0], tensors["w"], atol=3e-5, rtol=0)
    sample = ffhq_mobile.mapping(tensors["z_sample_q"].float() / 32)[:, 0]
    torch.testing.assert_close(sample.mean(0), tensors["w_mean"], atol=3e-5, rtol=0)
    torch.testing.assert_close(sample.std(0), tensors["w_std"], atol=3e-5, rtol=0)
    for i in range(2):
        with torch.no_grad():
            image = ffhq_mobile.synthesis(tensors["w_trunc0.7"][i : i + 1, None].repeat(1, ffhq_mobile.num_ws, 1))[0]
        for (y, x), patch in zip(tensors["patch_yx"][i].tolist(), tensors["patches"][i], strict=True):
            torch.testing.assert_close(image[:, y : y + 16, x : x + 16], patch, atol=3e-4, rtol=0)
        blocks = torch.nn.functional.avg_pool2d(image[None], 8)[0]
        torch.testing.assert_close(blocks, tensors["image_mean8"][i], atol=1e-4, rtol=0)


# The contract


@pytest.fixture(params=["mobile", "stylegan1"])
def generator(request, tiny, stylegan1):
    """One generator of each family."""
    return tiny if request.param == "mobile" else stylegan1[0]


def ws_of(generator, batch=2):
    return torch.randn(batch, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(1))


def test_every_family_is_covered(tiny, stylegan1):
    assert {type(tiny), type(stylegan1[0])} == set(FAMILIES)


def test_shapes_and_frozenness(generator):
    image = generator.synthesis(ws_of(generator))
    assert image.shape == (2, generator.img_channels, *generator.size)
    assert generator.img_resolution == max(generator.size)
    assert not generator.training
    assert not any(p.requires_grad for p in generator.parameters())
    assert len(generator.noise_shapes) == len(generator.synthesis.noise_shapes)
    assert len(generator.content_hash) == 64


def test_images_of_a_batch_do_not_meet(generator):
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
    assert (const - none).abs().max() > 0
    zeros = [torch.zeros(1, 1, *shape) for shape in generator.noise_shapes]
    torch.testing.assert_close(generator.synthesis(ws, noise=zeros), none, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(generator.synthesis(ws, noise=[None] * len(zeros)), const, atol=0, rtol=0)
    seeded = [generator.synthesis(ws, "random", generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    torch.testing.assert_close(seeded[0], seeded[1], atol=0, rtol=0)
    assert (seeded[0] - seeded[2]).abs().max() > 0


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

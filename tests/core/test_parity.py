"""The families against the reference numbers (tests/golden), at the tolerances given with them."""

from __future__ import annotations

import pytest
import torch
from zoo import part

from pulse_core.errors import CheckpointError
from pulse_core.generators import build_generator
from pulse_core.generators.mobilestylegan import InverseHaar, band_order
from pulse_core.loading.load import generator_from


def assert_within(actual, expected, atol):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


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
    other = generator_from(renamed, name="other")
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


# StyleGAN2


@pytest.mark.parametrize("variant", ["skip", "cond", "resnet", "orig"])
def test_stylegan2(variant):
    generator = generator_from(part("stylegan2_ada", f"{variant}.G."), name=variant)
    io = part("stylegan2_ada", f"{variant}.io.")
    z, c = io["z"], io.get("c")
    assert_within(generator.mapping(z, c), io["ws_psi1"], 1e-5)
    assert_within(generator.mapping(z, c, truncation_psi=0.7), io["ws_psi0.7"], 1e-5)
    assert_within(generator.mapping(z, c, 0.7, 4), io["ws_psi0.7_cutoff4"], 1e-5)
    assert_within(generator.mapping(z, c, -0.5, 2), io["ws_psi-0.5_cutoff2"], 1e-5)
    assert_within(generator.synthesis(io["ws_mix"]), io["img_mix_const"], 1e-4)
    assert_within(generator(z, c, noise_mode="none"), io["img_psi1_none"], 1e-4)
    c = None if c is None else c[:1]
    assert_within(generator(z[:1], c, truncation_psi=0.7), io["img_psi0.7_const"], 1e-4)


@pytest.mark.parametrize("variant", ["skip", "cond", "resnet", "orig"])
def test_stylegan2_block_by_block(variant):
    generator = generator_from(part("stylegan2_ada", f"{variant}.G."), name=variant)
    io = part("stylegan2_ada", f"{variant}.io.")
    outputs = {}
    for index, block in enumerate(generator.synthesis.blocks):
        block.register_forward_hook(lambda _m, _i, out, side=4 << index: outputs.__setitem__(side, out))
    generator.synthesis(io["ws_mix"])
    checked = [name for name in io if name.startswith(("x_mix_const.b", "rgb_mix_const.b"))]
    assert checked
    for name in checked:
        side = int(name.rpartition("b")[2])
        assert_within(outputs[side][0 if name.startswith("x") else 1], io[name], 1e-4)


@pytest.mark.parametrize("variant", ["skip", "cond", "resnet", "orig"])
def test_stylegan2_clamps(variant):
    from pulse_core.checkpoints.stored import stored
    from pulse_core.loading.layouts import translate

    tensors, _ = translate(stored(part("stylegan2_ada", f"{variant}.G.")), {})
    generator = build_generator(tensors, {"conv_clamp": 0.8}, name=variant)
    io = part("stylegan2_ada", f"{variant}.io.")
    assert_within(generator.synthesis(io["ws_mix"][:1]), io["img_mix_const_clamp0.8"], 1e-4)


def test_stylegan2_of_rosinality():
    generator = generator_from(part("stylegan2_rosinality", "G."), name="rosinality")
    io = part("stylegan2_rosinality", "io.")
    noise = [io[f"noise.{i}"] for i in range(9)]
    assert_within(generator.mapping(io["z"])[:, 0], io["w"], 1e-5)
    assert_within(generator.synthesis(generator.mapping(io["z"]), noise=noise), io["img_w_noise"], 5e-5)
    assert_within(generator.synthesis(io["w_plus"], noise=noise), io["img_wplus_noise"], 5e-5)
    assert_within(generator.synthesis(io["w_plus"][:1]), io["img_wplus_buffers"], 5e-5)
    first = [each[:1] for each in noise]
    assert_within(generator.synthesis(io["latents_mix_inject4"], noise=first), io["img_mix_inject4"], 5e-5)


# StyleGAN3


@pytest.mark.parametrize("config", ["t", "r"])
def test_stylegan3(config):
    generator = generator_from(part(f"stylegan3_{config}", "G."), name=config)
    io = part(f"stylegan3_{config}", "io.")
    z, ws = io["z"], io["ws_mix"]
    assert_within(generator.mapping(z), io["ws_psi1"], 1e-5)
    assert_within(generator.mapping(z, truncation_psi=0.7), io["ws_psi0.7"], 1e-5)
    assert_within(generator.mapping(z, None, 0.7, 8), io["ws_psi0.7_cutoff8"], 1e-5)
    assert_within(generator.synthesis(ws), io["img_mix"], 5e-5)
    assert_within(generator(z[:1], truncation_psi=0.7), io["img_psi0.7"], 5e-5)
    for name in ("identity", "scale1.6"):
        generator.synthesis.input.transform.copy_(io[f"transform.{name}"])
        assert_within(generator.synthesis(ws[:1]), io[f"img_mix_{name}"], 5e-5)


@pytest.mark.parametrize("config", ["t", "r"])
def test_stylegan3_layer_by_layer(config):
    generator = generator_from(part(f"stylegan3_{config}", "G."), name=config)
    io = part(f"stylegan3_{config}", "io.")
    outputs = []
    for module in (generator.synthesis.input, *generator.synthesis.layers):
        module.register_forward_hook(lambda _m, _i, out: outputs.append(out))
    generator.synthesis(io["ws_mix"])
    assert_within(outputs[0][:1], io["act.input"], 5e-5)
    assert_within(outputs[1][:1], io["act.L0_36_16"], 5e-5)
    stats = sorted((int(name.split(".L")[1].split("_")[0]), name) for name in io if name.startswith("act_stats.L"))
    assert len(stats) == len(outputs) - 1
    for (_, name), out in zip(stats, outputs[1:], strict=True):
        std, mean = torch.std_mean(out, dim=(2, 3))
        assert_within(torch.stack([mean, std], 2), io[name], 5e-5)


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

"""The table of arguments.py: what is honoured is drawn, what is refused is named, the rest changes nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from arguments import ASSUMED, BARE, DEDUCED, HONOURED, NONE, PICKLED, REFUSED, TENSORFLOW
from programs import PROGRAMS
from writers import save_nvlabs, save_tensorflow, stylegan1_for_tensorflow, stylegan2_for_tensorflow
from zoo import ZOO, part

from pulse_core.errors import CheckpointError
from pulse_core.generators import build_generator
from pulse_core.loading.layouts import nvlabs, tensorflow
from pulse_core.loading.load import generator_from, load_generator


def drawn(generator):
    ws = torch.linspace(-1, 1, generator.num_ws * generator.w_dim).view(1, generator.num_ws, -1)
    return generator.synthesis(ws, noise_mode="none"), generator.mapping(torch.ones(1, generator.z_dim))


def assert_alike(one, other):
    for a, b in zip(drawn(one), drawn(other), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)


def unlike(one, other):
    return [float((a - b).abs().max()) > 1e-3 for a, b in zip(drawn(one), drawn(other), strict=True)]


# TensorFlow

STYLEGAN1 = stylegan1_for_tensorflow(ZOO["stylegan1"]().tensors)
STYLEGAN2 = stylegan2_for_tensorflow(ZOO["stylegan2 skip"]().tensors)
VARIABLES = {"StyleGAN": STYLEGAN1, "StyleGAN2": STYLEGAN2, "StyleGAN2-ADA": STYLEGAN2}


def loaded(folder, family, **arguments):
    return load_generator(save_tensorflow(folder / "x.pkl", VARIABLES[family], "G_synthesis", arguments=arguments))


def cells(tables, *verdicts):
    return [(family, name) for family, table in tables.items() for name in table if table[name] in verdicts]


def test_the_table_has_every_argument_that_the_code_knows():
    named = {name for table in TENSORFLOW.values() for name in table}
    other = {"build_func_name", "func_name", "impl", "min_h", "min_w", "res_log2"}  # of no constructor, or of a fork's
    assert named | other == tensorflow.SHOWN | tensorflow.HONOURED | set(tensorflow.REQUIRED)
    for family, name in cells(TENSORFLOW, REFUSED):
        assert name in tensorflow.REQUIRED, (family, name)
    for family, name in cells(TENSORFLOW, HONOURED):
        assert name in tensorflow.HONOURED, (family, name)
    tables = [table for tables in (TENSORFLOW, PICKLED, BARE) for table in tables.values()]
    assert {verdict for table in tables for verdict in table.values()} == {HONOURED, DEDUCED, REFUSED, ASSUMED, NONE}


@pytest.mark.parametrize(("family", "name"), cells(TENSORFLOW, REFUSED))
def test_what_tensorflow_networks_compute_differently_is_refused_by_name(tmp_path, family, name):
    usual = tensorflow.REQUIRED[name]
    assert_alike(loaded(tmp_path, family, **{name: usual}), loaded(tmp_path, family))
    for value in ("relu", None, not usual, 1):
        if value is not usual:
            with pytest.raises(CheckpointError, match=rf"setting '{name}' is .*Accepted: {usual!r}"):
                loaded(tmp_path, family, **{name: value})


@pytest.mark.parametrize(("family", "name"), cells(TENSORFLOW, DEDUCED, NONE))
def test_what_the_shapes_say_or_nothing_needs_changes_nothing(tmp_path, family, name):
    assert_alike(loaded(tmp_path, family, **{name: 7}), loaded(tmp_path, family))


@pytest.mark.parametrize("value", [5, "x", [1, 2], None])
def test_arguments_of_nobody_are_refused_by_name(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"setting 'my_own_layer.*' is .*have no such argument"):
        loaded(tmp_path, "StyleGAN2", my_own_layer=value)


FILTERS = {"asymmetric": [1, 2, 3], "long": [1, 5, 10, 10, 5, 1], "none": None, "usual": [1, 3, 3, 1]}


@pytest.mark.parametrize("title", FILTERS)
def test_resample_kernel(tmp_path, title):
    taps = torch.tensor([float(tap) for tap in FILTERS[title] or [1, 1]])
    kernel = taps[:, None] * taps / taps.sum() ** 2
    direct = generator_from({**ZOO["stylegan2 skip"]().tensors, **filters(kernel)}, name="x")
    mine = loaded(tmp_path, "StyleGAN2", resample_kernel=FILTERS[title])
    assert_alike(mine, direct)
    assert unlike(mine, loaded(tmp_path, "StyleGAN2"))[0] == (title != "usual")


def filters(kernel):
    return {name: kernel for name in ZOO["stylegan2 skip"]().tensors if name.endswith("resample_filter")}


@pytest.mark.parametrize("taps", [[1, 1, 2], None, [], [1, 2, 1]])
def test_blur_filter(tmp_path, taps):
    row = torch.tensor([float(tap) for tap in taps or [0, 1, 0]])
    kernel = (row[:, None] * row / row.sum() ** 2)[None, None]
    tensors = ZOO["stylegan1"]().tensors
    kernels = {name: kernel for name in tensors if name.endswith("intermediate.kernel")}
    mine = loaded(tmp_path, "StyleGAN", blur_filter=taps)
    assert_alike(mine, build_generator({**tensors, **kernels}, {"norm_eps": 1e-8}, name="x"))


BROKEN = [[], "x", 5, [0, 0], [1, -1], ["a"], [1.0] * 33, [[1, 2], [3, 4]], [1e300], [True]]


@pytest.mark.parametrize("taps", BROKEN)
def test_filters_that_are_none(tmp_path, taps):
    with pytest.raises(CheckpointError, match=r"setting '(resample_kernel|resample_kernel\.0)' is"):
        loaded(tmp_path, "StyleGAN2", resample_kernel=taps)


def test_fused_scale_changes_how_an_upsampling_layer_uses_its_weights(tmp_path):
    tensors = ZOO["stylegan1"]().tensors
    fused = build_generator(tensors, {"norm_eps": 1e-8, "fused_from": 0}, name="x")
    assert_alike(loaded(tmp_path, "StyleGAN", fused_scale=True), fused)
    assert unlike(fused, loaded(tmp_path, "StyleGAN"))[0]
    for value in ("auto", False):  # of 32 pixels none is fused
        assert_alike(loaded(tmp_path, "StyleGAN", fused_scale=value), loaded(tmp_path, "StyleGAN"))
    with pytest.raises(CheckpointError, match="setting 'fused_scale' is 'sometimes'"):
        loaded(tmp_path, "StyleGAN", fused_scale="sometimes")


@pytest.mark.parametrize("family", VARIABLES)
def test_mapping_lrmul(tmp_path, family):
    changed = loaded(tmp_path, family, mapping_lrmul=0.02)
    assert unlike(changed, loaded(tmp_path, family)) == [False, True]
    assert_alike(loaded(tmp_path, family, mapping_lrmul=0.01), loaded(tmp_path, family))


def test_conv_clamp_of_tensorflow(tmp_path):
    assert unlike(loaded(tmp_path, "StyleGAN2-ADA", conv_clamp=0.3), loaded(tmp_path, "StyleGAN2-ADA"))[0]
    assert_alike(loaded(tmp_path, "StyleGAN2-ADA", conv_clamp=None), loaded(tmp_path, "StyleGAN2-ADA"))


def test_the_argument_of_the_part_counts_more_than_that_of_the_whole():
    whole = {"nonlinearity": "lrelu", "resample_kernel": (1, 3, 3, 1), "synthesis/resample_kernel": (1, 1)}
    assert tensorflow._arguments(whole)["resample_kernel"] == (1, 1)


@pytest.mark.parametrize("name", ["lod", "synthesis/lod"])
def test_a_network_that_still_grows_is_refused(tmp_path, name):
    path = save_tensorflow(tmp_path / "x.pkl", {**STYLEGAN1, name: torch.tensor(1.5)}, "G_synthesis")
    with pytest.raises(CheckpointError, match=rf"setting '{name}' is 1\.5"):
        load_generator(path)


# Networks pickled by PyTorch

ADA = ZOO["stylegan2 skip"]().tensors
ATTRIBUTES = {
    "mapping.fc1.activation": ["relu", "linear", "swish"],
    "mapping.fc0.activation": ["relu", None],
    "synthesis.b8.conv1.activation": ["relu", "linear"],
    "synthesis.b8.conv0.affine.activation": ["lrelu"],
    "synthesis.b8.conv0.act_gain": [1.0, 2.0],
    "synthesis.b8.conv0.up": [1, 4],
    "synthesis.b8.conv1.up": [2],
    "synthesis.b8.conv1.affine.bias_gain": [0.5],
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_that_would_draw_something_else_are_refused_by_name(tmp_path, name):
    assert any(re.fullmatch(pattern, name) for pattern, _ in nvlabs.REQUIRED)
    for value in ATTRIBUTES[name]:
        with pytest.raises(CheckpointError, match=rf"setting '{name}' is {value!r}"):
            load_generator(save_nvlabs(tmp_path / "x.pkl", ADA, {name: value}))


def test_attributes_of_a_live_network_may_be_numpys():
    metadata = {"synthesis.b8.conv0.act_gain": np.sqrt(2), "mapping.fc0.bias_gain": np.float64(0.02)}
    generator = generator_from(ADA, metadata, name="x")
    assert "mapping_lr" not in generator.assumed
    with pytest.raises(CheckpointError, match="act_gain"):
        generator_from(ADA, {"synthesis.b8.conv0.act_gain": np.sqrt(3)}, name="x")


def test_layers_that_clamp_differently_are_refused(tmp_path):
    metadata = {"synthesis.b8.conv0.conv_clamp": 256, "synthesis.b8.torgb.conv_clamp": 128}
    with pytest.raises(CheckpointError, match=r"conv_clamp' is .*the same in all layers"):
        load_generator(save_nvlabs(tmp_path / "x.pkl", ADA, metadata))
    metadata = {"mapping.fc0.bias_gain": 0.01, "mapping.fc1.bias_gain": 0.1}
    with pytest.raises(CheckpointError, match=r"bias_gain' is .*the same in all layers"):
        load_generator(save_nvlabs(tmp_path / "x.pkl", ADA, metadata))


def test_layers_with_other_filters_are_refused():
    assert "synthesis.b16.conv0.resample_filter" in ADA
    with pytest.raises(CheckpointError, match=r"resampling filters .* differ"):
        generator_from({**ADA, "synthesis.b16.conv0.resample_filter": torch.ones(4, 4) / 16}, name="x")


SG3 = part("stylegan3_t", "G.")
LAYERS = sorted(name.removesuffix(".magnitude_ema") for name in SG3 if name.endswith(".magnitude_ema"))


def rates(upsampling, **others):
    """Attributes of the layers, all at one sampling rate."""
    metadata = {}
    for layer in LAYERS:
        is_rgb = layer.startswith("synthesis.L14")
        tmp = others.get(layer, 64 * (1 if is_rgb else upsampling))
        metadata |= {f"{layer}.in_sampling_rate": 64, f"{layer}.out_sampling_rate": 64}
        metadata |= {f"{layer}.tmp_sampling_rate": tmp, f"{layer}.is_torgb": is_rgb}
    return metadata


def test_lrelu_upsampling_of_a_pickled_stylegan3(tmp_path):
    assert_alike(load_generator(save_nvlabs(tmp_path / "x.pkl", SG3, rates(2))), generator_from(SG3, name="x"))
    with pytest.raises(CheckpointError, match=r"The setting 'lrelu_upsampling' of the checkpoint is 1\.0"):
        load_generator(save_nvlabs(tmp_path / "x.pkl", SG3, rates(1)))
    with pytest.raises(CheckpointError, match=r"lrelu_upsampling 3"):
        load_generator(save_nvlabs(tmp_path / "x.pkl", SG3, rates(3)))
    with pytest.raises(CheckpointError, match="the same multiple of the larger rate in all layers"):
        load_generator(save_nvlabs(tmp_path / "x.pkl", SG3, rates(2, **{LAYERS[3]: 256})))
    for value in (0, -1, "x", None):
        with pytest.raises(CheckpointError, match=r"tmp_sampling_rate' is .*a positive number"):
            load_generator(save_nvlabs(tmp_path / "x.pkl", SG3, rates(2, **{LAYERS[3]: value})))


@pytest.mark.parametrize(("name", "value"), [("synthesis.output_scale", 1.0), ("synthesis.margin_size", 11)])
def test_settings_of_a_pickled_stylegan3(tmp_path, name, value):
    plain = generator_from(SG3, name="x")
    path = save_nvlabs(tmp_path / "x.pkl", SG3, {name: value})
    if name.endswith("margin_size"):
        with pytest.raises(CheckpointError, match="which no margin explains"):
            load_generator(path)
    else:
        torch.testing.assert_close(drawn(load_generator(path))[0], 4 * drawn(plain)[0])


# State dicts


@pytest.mark.parametrize("multiplier", [1.0, 0.0001])
@pytest.mark.parametrize("species", ["stylegan1", "stylegan2 skip", "stylegan2 rosinality", "stylegan3 t"])
def test_a_learning_rate_that_the_weights_contradict_is_refused_by_name(species, multiplier):
    """Weights begin with a deviation of 1 / multiplier."""
    tensors = ZOO[species]().tensors
    scaled = {
        name: tensor * (0.01 / multiplier) if name.startswith(("mapping.", "style.")) and tensor.ndim == 2 else tensor
        for name, tensor in tensors.items()
    }
    with pytest.raises(CheckpointError, match=r"does not say its setting 'mapping_lr', and its weights deviate by"):
        generator_from(scaled, name="x")


@pytest.mark.parametrize("name", ["lrelu_upsampling 4", "margin_size 5", "first_cutoff 4"])
def test_settings_of_a_bare_stylegan3_that_its_filters_show(name):
    """The images are compared in test_programs."""
    generator = generator_from(PROGRAMS[f"stylegan3 {name}"].tensors, name="x")
    assert generator.size == (64, 64)
    assert set(generator.assumed) == {"conv_clamp", "output_scale", "mapping_lr"}


def test_what_a_bare_state_dict_does_not_say_is_told():
    assert generator_from(SG3, name="x").assumed == {"conv_clamp": 256.0, "output_scale": 0.25, "mapping_lr": 0.01}
    assert generator_from(ADA, name="x").assumed == {"conv_clamp": None, "mapping_lr": 0.01}


def test_rosinalitys_blur_kernel_is_that_of_the_layers_alone():
    tensors = PROGRAMS["rosinality blur_kernel"].tensors
    generator = generator_from(tensors, name="x")
    block = generator.synthesis.blocks[1]
    assert not torch.equal(block.kernel, block.image_kernel)
    tensors["convs.2.conv.blur.kernel"] = tensors["convs.2.conv.blur.kernel"].flip(0)
    with pytest.raises(CheckpointError, match=r"resampling filters .* differ"):
        generator_from(tensors, name="x")

"""Files of other programs: each loads, and draws what the program itself draws."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import ROOT
from programs import PROGRAMS, write_program

from pulse_core.checkpoints import FORMATS
from pulse_core.errors import CheckpointError
from pulse_core.loading.conversion import convert
from pulse_core.loading.inspection import describe
from pulse_core.loading.load import generator_from, load_generator

CLOSE = 2e-5  # of the largest value in an image


def image_of(generator, golden, psi=1.0):
    noise = [golden[f"noise/{i}"] for i in range(len(generator.noise_shapes)) if f"noise/{i}" in golden]
    ws = generator.mapping(golden["z"], golden.get("c"), truncation_psi=psi)
    image = generator.synthesis(ws, noise=noise) if noise else generator.synthesis(ws)
    step = image.shape[-1] // golden["image"].shape[-1]
    return ws, image[..., ::step, ::step]


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_draws_what_the_program_draws(tmp_path, name):
    program = PROGRAMS[name]
    golden = program.golden
    generator = load_generator(write_program(tmp_path / f"x{program.ending}", program))
    ws, image = image_of(generator, golden)
    torch.testing.assert_close(ws[:, 0], golden["w"], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(image, golden["image"], atol=CLOSE * float(golden["image"].abs().max()), rtol=0)
    assert (generator.family, generator.place) == (program.family, program.place)


@pytest.mark.parametrize("name", PROGRAMS)
def test_its_converted_file_draws_the_same_bit_for_bit(tmp_path, name):
    program = PROGRAMS[name]
    source = write_program(tmp_path / f"x{program.ending}", program)
    before, after = load_generator(source), load_generator(convert(source, tmp_path / "y.safetensors"))
    assert torch.equal(image_of(before, program.golden)[1], image_of(after, program.golden)[1])
    assert before.content_hash == after.content_hash


def test_truncation_of_stylegan_xl_pulls_towards_the_class(tmp_path):
    program = PROGRAMS["stylegan-xl labels"]
    golden = program.golden
    generator = generator_from(program.tensors, name="xl")
    assert generator.c_dim == 3  # the table of classes has 40 rows
    _, image = image_of(generator, golden, 0.7)
    torch.testing.assert_close(image, golden["image0.7"], atol=1e-6, rtol=0)
    torch.testing.assert_close(generator.mapping.w_avg, program.tensors["mapping.w_avg"].mean(0))


def test_all_their_endings_are_offered():
    assert {program.ending for program in PROGRAMS.values()} <= {end for form in FORMATS for end in form.SUFFIXES}


def test_of_a_growing_stylegan_the_blocks_that_were_trained_are_taken():
    tensors = PROGRAMS["style-based"].tensors
    assert generator_from(tensors, name="x").size == (32, 32)  # and not 1024
    for block in range(9):
        for noise in ("noise1", "noise2"):
            tensors[f"generator.progression.{block}.{noise}.weight_orig"].zero_()
    with pytest.raises(CheckpointError, match="No block of this StyleGAN was trained"):
        generator_from(tensors, name="x")


def test_a_growing_network_is_refused():
    tensors = PROGRAMS["genforce stylegan1"].tensors
    with pytest.raises(CheckpointError, match=r"setting 'synthesis\.lod' is 2\.0"):
        generator_from({**tensors, "synthesis.lod": torch.tensor(2.0)}, name="x")


OTHERS = {
    "SWAGAN": ["input.input", "conv1.conv.weight", "to_rgbs.0.iwt.ll"],
    "GFPGAN": ["params_ema.stylegan_decoder.constant_input.weight", "params_ema.final_linear.weight"],
    "lucidrains": ["GAN.G.blocks.0.to_style1.weight", "GAN.S.net.0.weight"],
    "EG3D": ["backbone.synthesis.b4.const", "decoder.net.0.weight"],
}


@pytest.mark.parametrize("name", OTHERS)
def test_networks_that_only_look_like_a_stylegan_are_refused_by_name(name):
    with pytest.raises(CheckpointError, match=rf"The file holds {name}.*What to do: (choose|restore)"):
        generator_from({key: torch.zeros(1) for key in OTHERS[name]}, name="x")


def test_inspect_says_where_it_was_and_what_was_assumed(tmp_path):
    facts = describe(write_program(tmp_path / "x.pth", PROGRAMS["mmgeneration"]))
    assert facts["found under"] == "state_dict.generator_ema"
    assert facts["other generators"] == "state_dict.generator"
    assert facts["assumed settings"] == "conv_clamp none, mapping_lr 0.01"


# The rows of docs/generators.md, and the programs that stand for each.
ROWS = {
    "genforce": ["genforce stylegan1", "genforce stylegan2", "genforce stylegan2-ada labels"],
    "MMGeneration": ["mmgeneration"],
    "MobileStyleGAN, its own training checkpoint": ["mobilestylegan"],
    "StyleGAN-XL, conditional or not, also with superresolution": ["stylegan-xl labels", "stylegan-xl superresolution"],
    "huangzh13's StyleGAN.pytorch": ["huangzh13"],
    "rosinality's style-based-gan-pytorch": ["style-based"],
}


def test_every_program_of_the_page_is_tested():
    lines = (ROOT / "docs" / "generators.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| program | generator | its files |")
    rows = [line.strip("|").split("|") for line in lines[start + 2 : lines.index("", start)]]
    titles = {row[0].strip(): row[1].lower() for row in rows}
    decoders = titles.pop("pSp, e4e, ReStyle: the decoder")  # test_wrappers
    assert decoders.strip() == "stylegan2"
    assert titles.keys() == ROWS.keys()
    for title, names in ROWS.items():
        for name in names:
            assert PROGRAMS[name].family in titles[title]


# What a file may lack: buffers that are drawn, estimated, constant, or not used for the whole image.
OPTIONAL = re.compile(
    r".*(noise|noises\.noise_\d|injected_noise_\d|w_avg|avg_latent|style_mean|kernel|lod|weight_flip|device_info)"
    r"|.*(idwt|to_img|to_img1|synthesis_net|inception|loss)\..*"
    r"|synthesis\.output[0-2]\.\w+|g_synthesis\.to_rgb\.[0-2]\.\w+"
    r"|generator\.(progression\.[4-8]|to_rgb\.[0-24-8])\..*"
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_file_without_one_of_its_tensors_is_refused(name):
    tensors = PROGRAMS[name].tensors
    for missing in tensors:
        rest = {key: tensor for key, tensor in tensors.items() if key != missing}
        try:
            generator = generator_from(rest, name="x")
        except CheckpointError:
            continue
        assert OPTIONAL.fullmatch(missing), missing
        assert generator.size == generator_from(tensors, name="x").size

"""Families x formats: every cell of the table in docs/generators.md loads, and draws the same images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file
from writers import (
    ENDINGS,
    WRITERS,
    rosinality,
    save_nvlabs,
    save_tensorflow,
    save_torch,
    stylegan1_for_tensorflow,
    write_nvlabs_4,
    write_rosinality,
    write_safetensors,
    write_tensorflow,
    write_torch,
)
from zoo import ZOO, part

from pulse_core.checkpoints import FORMATS
from pulse_core.errors import CheckpointError
from pulse_core.generators import FAMILIES, build_generator
from pulse_core.loading.conversion import convert
from pulse_core.loading.inspection import describe
from pulse_core.loading.load import generator_from, load_generator

CELLS = [(name, writer) for name, writers in WRITERS.items() for writer in writers]


def images(generator, batch=2):
    """w and two images, with stored noise and with none."""
    random = torch.Generator().manual_seed(5)
    z = torch.randn(batch, generator.z_dim, generator=random)
    c = torch.eye(generator.c_dim)[:batch] if generator.c_dim else None
    ws = generator.mapping(z, c)
    mixed = ws + 0.3 * torch.randn(ws.shape, generator=random)
    return ws, generator.synthesis(mixed), generator.synthesis(mixed, noise_mode="none")


def assert_same(a, b, **tolerance):
    for one, other in zip(images(a), images(b), strict=True):
        torch.testing.assert_close(one, other, **(tolerance or {"atol": 0, "rtol": 0}))


def test_the_table_is_complete():
    assert set(WRITERS) == set(ZOO)
    assert {ZOO[name]().family for name in ZOO} == {family.family for family in FAMILIES}
    assert {ENDINGS.get(writer, ".pt") for writers in WRITERS.values() for writer in writers} < {
        ending for form in FORMATS for ending in form.SUFFIXES
    }


@pytest.mark.parametrize(("name", "writer"), CELLS, ids=[f"{n}-{w.__name__[6:]}" for n, w in CELLS])
def test_every_family_in_every_format(tmp_path, name, writer):
    example = ZOO[name]()
    direct = generator_from(example.tensors, example.metadata, name="direct")
    path = tmp_path / f"file{ENDINGS.get(writer, '.pt')}"
    writer(path, example)
    generator = load_generator(path)
    assert (generator.family, generator.size) == (example.family, example.size)
    if writer is write_tensorflow:  # has noise maps and averages of its own, and biases that were 1 less for a while
        if example.family == "stylegan1":
            direct = build_generator(example.tensors, {"norm_eps": 1e-8}, name="direct")
        _, _, mine = images(generator)
        torch.testing.assert_close(mine, images(direct)[2], atol=2e-5, rtol=1e-5)
    else:
        assert_same(generator, direct)
        assert generator.content_hash == direct.content_hash


@pytest.mark.parametrize(("name", "writer"), CELLS, ids=[f"{n}-{w.__name__[6:]}" for n, w in CELLS])
def test_converted_files_draw_the_same_images_bit_for_bit(tmp_path, name, writer):
    source = tmp_path / f"file{ENDINGS.get(writer, '.pt')}"
    writer(source, ZOO[name]())
    output = convert(source, tmp_path / "out" / "converted.safetensors")
    before, after = load_generator(source), load_generator(output)
    assert_same(before, after)
    assert before.content_hash == after.content_hash
    assert describe(output)["family"] == ZOO[name]().family
    assert [file.name for file in output.parent.iterdir()] == ["converted.safetensors"]


def test_attributes_of_a_pickled_network_are_its_settings(tmp_path):
    tensors = part("stylegan2_ada", "skip.G.")
    metadata = {"synthesis.b4.conv1.conv_clamp": 0.8, "mapping.fc0.bias_gain": 0.02, "mapping.fc0.activation": "lrelu"}
    path = save_nvlabs(tmp_path / "g.pkl", tensors, metadata)
    clamped, plain = load_generator(path), generator_from(tensors, name="plain")
    golden = part("stylegan2_ada", "skip.io.")
    torch.testing.assert_close(
        clamped.synthesis(golden["ws_mix"][:1]), golden["img_mix_const_clamp0.8"], atol=1e-4, rtol=0
    )
    z = golden["z"]
    assert (clamped.mapping(z) - plain.mapping(z)).abs().max() > 0.1
    assert clamped.content_hash != plain.content_hash
    again = load_generator(convert(path, tmp_path / "g.safetensors"))
    assert_same(clamped, again)


def test_the_average_of_rosinalitys_converted_files_is_used(tmp_path):
    golden = part("stylegan2_rosinality", "io.")
    content = rosinality(part("stylegan2_rosinality", "G."), latent_avg=golden["latent_avg"])
    generator = load_generator(save_torch(tmp_path / "g.pt", content))
    ws = generator.mapping(golden["z"][:1], truncation_psi=0.7)
    torch.testing.assert_close(ws, golden["latents_trunc0.7"], atol=1e-5, rtol=0)
    noise = [golden[f"noise.{i}"][:1] for i in range(9)]
    torch.testing.assert_close(generator.synthesis(ws, noise=noise), golden["img_trunc0.7"], atol=5e-5, rtol=0)


def test_lernapparats_dump_of_a_tensorflow_file(tmp_path):
    variables = stylegan1_for_tensorflow(ZOO["stylegan1"]().tensors)
    kept = {k: v for k, v in variables.items() if "/" in k and "lod" not in k.split("/")[-1]}
    dump = {f"G_{name}": tensor for name, tensor in kept.items()}
    generator = load_generator(save_torch(tmp_path / "dump.pt", [{}, {}, dump]))
    assert (generator.family, generator.size) == ("stylegan1", (32, 32))


def test_a_tensorflow_file_keeps_its_noise_average_and_norm(tmp_path):
    example = ZOO["stylegan1"]()
    path = save_tensorflow(tmp_path / "g.pkl", stylegan1_for_tensorflow(example.tensors), "G_synthesis", protocol=2 + 1)
    generator = load_generator(path)
    torch.testing.assert_close(generator.mapping.w_avg, torch.linspace(-1, 1, 16))
    assert [float(generator.synthesis.get_buffer(f"noise_const_{i}").mean()) for i in range(8)] == [
        i / 8 for i in range(8)
    ]
    assert {layer.norm_eps for block in generator.synthesis.blocks for layer in (block.epi1, block.epi2)} == {1e-8}


def test_noise_consts_of_old_rosinality_files_are_drawn(tmp_path):
    tensors = {k: v for k, v in part("stylegan2_rosinality", "G.").items() if not k.startswith("noises.")}
    generators = [load_generator(save_torch(tmp_path / f"{i}.pt", {"g_ema": tensors})) for i in range(2)]
    assert len(generators[0].noise_shapes) == 9
    assert_same(*generators)


def test_a_network_without_noise_inputs(tmp_path):
    tensors = {k: v for k, v in part("stylegan2_ada", "skip.G.").items() if "noise" not in k}
    generator = load_generator(save_nvlabs(tmp_path / "g.pkl", tensors))
    assert generator.noise_shapes == ()
    assert generator.synthesis(images(generator)[0]).shape == (2, 3, 64, 64)


def test_inspect_knows_a_published_file_by_its_checksum(tmp_path, monkeypatch):
    from pulse_core.loading import catalogue, inspection

    row = catalogue.entry("stylegan2-ada-ffhq")
    save_file(part("stylegan2_ada", "skip.G."), tmp_path / "mine.safetensors")
    assert describe(tmp_path / "mine.safetensors")["known as"] is None
    monkeypatch.setattr(inspection, "sha256", lambda path: row.sha256)
    metadata = describe(tmp_path / "mine.safetensors")
    assert (metadata["known as"], metadata["licence"], metadata["ask"]) == (row.name, row.license, row.ask)


def test_conversion_says_where_a_file_came_from(tmp_path):
    source = save_torch(tmp_path / "in.pt", ZOO["stylegan3 t"]().tensors)
    metadata = describe(convert(source, tmp_path / "out.safetensors"))
    assert metadata["format"] == "safetensors"
    header = (tmp_path / "out.safetensors").read_bytes()[8:]
    metadata = json.JSONDecoder().raw_decode(header[:20_000].decode("utf-8", "replace"))[0]["__metadata__"]
    assert metadata["family"] == "stylegan3"
    assert metadata["source"] == "in.pt"
    assert len(metadata["source_sha256"]) == 64


def test_conversion_keeps_the_licence(tmp_path):
    metadata = {"family": "mobilestylegan", "license": "CC0", "lineage": "drawn by lot"}
    save_file(ZOO["mobilestylegan"]().tensors, tmp_path / "in.safetensors", metadata)
    described = describe(convert(tmp_path / "in.safetensors", tmp_path / "out.safetensors"))
    assert (described["licence"], described["lineage"]) == ("CC0", "drawn by lot")


@pytest.mark.parametrize("output", ["in.pt", "out.pt", "out"])
def test_conversion_refuses_to_write_over_its_input_or_under_a_wrong_name(tmp_path, output):
    source = save_torch(tmp_path / "in.pt", ZOO["mobilestylegan"]().tensors)
    before = source.read_bytes()
    with pytest.raises(ValueError, match=r"The output is .*ends in \.safetensors"):
        convert(source, tmp_path / output)
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["in.pt"]


# The rows of docs/generators.md, and the generators that stand for each.
ROWS = {
    "StyleGAN1: PULSE's pair, lernapparat, conditional": ["stylegan1", "stylegan1 conditional"],
    "StyleGAN2 and ADA: skip": ["stylegan2 skip", "stylegan2 rosinality"],
    "StyleGAN2 and ADA: resnet, conditional": ["stylegan2 resnet", "stylegan2 conditional"],
    "StyleGAN2 and ADA: orig, non-square": ["stylegan2 orig, grey", "stylegan2 tall"],
    "StyleGAN3: T, R, non-square": ["stylegan3 t", "stylegan3 r", "stylegan3 tall"],
    "MobileStyleGAN": ["mobilestylegan"],
}
COLUMNS = [write_safetensors, write_torch, write_rosinality, write_nvlabs_4, write_tensorflow]


def test_the_documented_table_is_what_is_tested():
    lines = (ROOT / "docs" / "generators.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    table = {row[0]: [cell == "✓" for cell in row[1:]] for row in cells if row[0] in ROWS}
    assert sorted(name for names in ROWS.values() for name in names) == sorted(ZOO)
    for title, names in ROWS.items():
        tested = {writer for name in names for writer in WRITERS[name]}
        assert table[title] == [writer in tested for writer in COLUMNS], title


def test_pulses_pair_of_files(tmp_path: Path):
    tensors = ZOO["stylegan1"]().tensors
    for half in ("synthesis", "mapping"):
        mine = {k.removeprefix(f"{half}."): v for k, v in tensors.items() if k.startswith(half)}
        save_torch(tmp_path / f"{half}.pt", mine, legacy=half == "mapping")
    generator = load_generator(tmp_path / "synthesis.pt")
    assert [file.name for file in generator.files] == ["synthesis.pt", "mapping.pt"]
    assert_same(generator, generator_from(tensors, name="whole"))
    assert_same(generator, load_generator(convert(tmp_path / "synthesis.pt", tmp_path / "pair.safetensors")))


@pytest.mark.parametrize(
    ("example", "name", "again"),
    [
        ("stylegan1", "synthesis.torgb.bias", "g_synthesis.torgb.bias"),
        ("stylegan2 rosinality", "conv1.activate.bias", "conv1.bias"),
    ],
)
def test_one_tensor_under_two_names_is_refused(example, name, again):
    tensors = ZOO[example]().tensors
    with pytest.raises(CheckpointError, match=rf"twice, once as '{name}'|twice, once as '{again}'"):
        generator_from({**tensors, again: tensors[name]}, name="twice")

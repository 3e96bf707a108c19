"""Latents on sockets and in files: saved, loaded, drawn, blended, searched on from."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from tiny import save_tiny


@pytest.fixture
def search(pack, generator, gaussian, target):
    def run(**inputs):
        wired = {"stylegan": generator, "image": target, "gaussian": gaussian, "steps": 6, "preview_every": 0}
        return pack.run("PULSESearch", **{**wired, **inputs})

    return run


@pytest.fixture
def other(pack, models):
    save_tiny(models / "stylegan" / "other.safetensors", seed=1)
    pack.register()
    return pack.run("LoadStyleGAN", stylegan_file="other.safetensors")[0]


def test_a_searched_latent_draws_its_image_again(pack, search, generator):
    image, _, latent, *_ = search(fidelity=0.0)
    assert type(latent) is torch.Tensor, "other packs compute with it"
    (again,) = pack.run("PULSESynthesize", stylegan=generator, latent=latent)
    torch.testing.assert_close(again, image, atol=1e-5, rtol=0)
    (constant,) = pack.run("PULSESynthesize", stylegan=generator, latent=latent, noise="const")
    assert (constant - image).abs().max() > 0.01


def test_saved_latents_are_offered_and_loaded_with_all_they_had(pack, search, generator):
    _, _, latent, report, _ = search(solutions=2)
    (path,) = pack.run("PULSESaveLatent", latent=latent)
    assert path.endswith("latents/pulse_00001_.latent.safetensors".replace("/", os.sep))
    pack.register()
    (choices,) = (i.metadata["options"] for i in pack.schema("PULSELoadLatent").inputs if i.id == "latent_file")
    assert choices == ["latents/pulse_00001_.latent.safetensors [output]"]
    assert all(".latent" not in name for name in pack.schema("LoadStyleGAN").inputs[0].metadata["options"])
    (loaded,) = pack.run("PULSELoadLatent", latent_file=choices[0])
    assert torch.equal(loaded, latent)
    assert torch.equal(
        pack.run("PULSESynthesize", stylegan=generator, latent=loaded)[0],
        pack.run("PULSESynthesize", stylegan=generator, latent=latent)[0],
    )
    with torch.inference_mode(False):
        kept = pack.submodule("nodes.host").take_latent(loaded)
    assert list(kept.records) == pack.submodule("nodes.reports").metadata_of_each(report, 2)
    assert [record["seed"] for record in kept.records] == [row["seed"] for row in json.loads(report)["images"]]
    assert {record["settings"]["steps"] for record in kept.records} == {6}
    assert kept.generator_hash == generator.content_hash


def test_a_latent_of_the_input_folder_is_offered_too(pack, search, models):
    (path,) = pack.run("PULSESaveLatent", latent=search()[2])
    folder = models.parent / "input" / "faces"
    folder.mkdir(parents=True)
    moved = folder / "mine.latent.safetensors"
    shutil.move(path, moved)
    pack.register()
    (choices,) = (i.metadata["options"] for i in pack.schema("PULSELoadLatent").inputs)
    assert choices == ["faces/mine.latent.safetensors"]
    assert len(pack.run("PULSELoadLatent", latent_file=choices[0])[0]) == 1
    before = pack.nodes["PULSELoadLatent"].fingerprint_inputs(choices[0])
    moved.write_bytes(moved.read_bytes() + b" ")
    assert pack.nodes["PULSELoadLatent"].fingerprint_inputs(choices[0]) != before


@pytest.mark.parametrize("name", ["gone.latent.safetensors", "../models/stylegan/tiny.safetensors", "/etc/passwd"])
def test_what_is_not_in_these_folders_is_not_loaded(pack, name):
    with pytest.raises(ValueError, match=r"The latent '.*' is not on this machine\..*refresh the page"):
        pack.run("PULSELoadLatent", latent_file=name)


def test_a_latent_of_another_generator_is_refused_with_both_names(pack, search, generator, other):
    for node in ("PULSESynthesize", "PULSESearch"):
        slot = "latent" if node == "PULSESynthesize" else "init_latent"
        image = {} if node == "PULSESynthesize" else {"image": torch.rand(1, 8, 8, 3), "steps": 1}
        with pytest.raises(ValueError, match=r"tiny \(\w{12}\).*other \(\w{12}\)"):
            pack.run(node, stylegan=other, **{slot: search()[2]}, **image)


def test_plain_style_vectors_of_other_packs_are_taken(pack, search, generator):
    image, ws = pack.run("PULSESampleFace", stylegan=generator, seed=3)
    plain = ws + 0
    assert not hasattr(plain, "pulse_latent"), "what is computed with a latent is no longer that latent"
    for latent in (plain, plain[0]):
        torch.testing.assert_close(pack.run("PULSESynthesize", stylegan=generator, latent=latent)[0], image)
    assert len(search(init_latent=plain)[0]) == 1
    with pytest.raises(ValueError, match="input holds a dict"):
        pack.run("PULSESynthesize", stylegan=generator, latent={"samples": 1})
    with pytest.raises(ValueError, match=r"a tensor \[0, 6, 16\]"):
        pack.run("PULSESynthesize", stylegan=generator, latent=plain[:0])


def test_a_search_goes_on_from_a_latent(search):
    _, _, latent, report, _ = search(steps=20, preset="published")
    again = json.loads(search(steps=20, preset="published", init_latent=latent)[3])
    assert again["images"][0]["search_l2"] <= json.loads(report)["images"][0]["search_l2"] * 1.001


def test_blends_are_latents(pack, generator):
    (a, b) = (pack.run("PULSESampleFace", stylegan=generator, seed=seed)[1] for seed in (1, 2))
    (row,) = pack.run("PULSEBlendLatents", latent_a=a, latent_b=b, weight=1.0, frames=4)
    images = pack.run("PULSESynthesize", stylegan=generator, latent=row)[0]
    assert images.shape == (4, 32, 32, 3)
    torch.testing.assert_close(images[-1:], pack.run("PULSESynthesize", stylegan=generator, latent=b)[0])
    (mixed,) = pack.run("PULSEBlendLatents", latent_a=a, latent_b=b, weight=1.0, first_layer=0, last_layer=1)
    assert torch.equal(mixed[0, 2:], a[0, 2:])
    assert torch.equal(mixed[0, :2], b[0, :2])


def test_some_of_a_batch_are_picked(pack, search, generator):
    _, _, latent, report, _ = search(solutions=3)
    (picked,) = pack.run("PULSEPickLatents", latent=latent, which="3, 1")
    assert torch.equal(picked, latent[[2, 0]])
    with torch.inference_mode(False):
        records = pack.submodule("nodes.host").take_latent(picked).records
    rows = pack.submodule("nodes.reports").metadata_of_each(report, 3)
    assert list(records) == [rows[2], rows[0]]
    assert [record["seed"] for record in records] == [json.loads(report)["images"][row]["seed"] for row in (2, 0)]
    with pytest.raises(ValueError, match=r"which is '4'\. Accepted: all, or numbers from 1 to 3"):
        pack.run("PULSEPickLatents", latent=latent, which="4")

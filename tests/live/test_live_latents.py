"""Latents, many solutions and saved pictures in a real ComfyUI. The generator is tiny and random."""

from __future__ import annotations

import json

import pytest
from graphs import searched
from tiny import save_tiny


def search(**settings):
    """A search of a few steps."""
    return searched(face=3, **{"steps": 5, "preview_every": 0, **settings})


@pytest.fixture
def saved(run, client):
    """The choice of Load Latent for two solutions that were saved."""
    graph = search(solutions=2) | {
        "keep": ("PULSESaveLatent", {"latent": ["search", 2], "filename_prefix": "kept/face"})
    }
    done = run(graph)
    assert done.succeeded(), done.error
    assert done.texts["keep"].startswith("written to output/kept/face_")
    options = client.get_json("/object_info/PULSELoadLatent")["PULSELoadLatent"]["input"]["required"]["latent_file"][1]
    return next(name for name in reversed(options["options"]) if name.startswith("kept/face"))


def test_a_saved_latent_is_loaded_drawn_blended_and_searched_on_from(run, saved, pictures):
    assert saved.endswith(".latent.safetensors [output]")
    graph = search(init_latent=["best", 0]) | {
        "again": ("PULSELoadLatent", {"latent_file": saved}),
        "best": ("PULSEPickLatents", {"latent": ["again", 0], "which": "1"}),
        "second": ("PULSEPickLatents", {"latent": ["again", 0], "which": "2"}),
        "blend": ("PULSEBlendLatents", {"latent_a": ["best", 0], "latent_b": ["second", 0], "frames": 3}),
        "draw": ("PULSESynthesize", {"stylegan": ["load", 0], "latent": ["blend", 0]}),
        "frames": ("PreviewImage", {"images": ["draw", 0]}),
        "on": ("PreviewImage", {"images": ["search", 0]}),
    }
    done = run(graph)
    assert done.succeeded(), done.error
    assert [picture.size for picture in pictures(done)] == [(32, 32)] * 4
    assert done.texts["again"] == "2 latents of tiny, 6 style vectors of 16, with noise"


def test_a_latent_of_another_generator_is_told_with_both_names(run, saved, server):
    save_tiny(server.stylegan / "stranger.safetensors", seed=5)
    refused = run(
        {
            "load": ("LoadStyleGAN", {"stylegan_file": "stranger.safetensors"}),
            "again": ("PULSELoadLatent", {"latent_file": saved}),
            "draw": ("PULSESynthesize", {"stylegan": ["load", 0], "latent": ["again", 0]}),
            "show": ("PreviewImage", {"images": ["draw", 0]}),
        }
    )
    assert refused.end == "execution_error"
    assert "The latent is of tiny (" in refused.error
    assert "; the generator is stranger (" in refused.error


def test_many_solutions_are_laid_out_compared_and_mapped(run, pictures):
    found = {"image": ["search", 0], "report": ["search", 3]}
    graph = search(solutions=3) | {
        "sheet": ("PULSEContactSheet", {**found, "side": 64}),
        "open": ("PULSEUncertainty", {**found, "accept": "all"}),
        "beside": ("PULSECompare", {"image": ["small", 0], "result": ["search", 0], "side": 64}),
        **{f"show {name}": ("PreviewImage", {"images": [name, 0]}) for name in ("sheet", "open", "beside")},
    }
    done = run(graph)
    assert done.succeeded(), done.error
    assert len(pictures(done)) == 1 + 1 + 3
    assert done.texts["open"].startswith("1: 3 solutions, spread 0.")


def test_saved_pictures_say_how_they_were_made(run, pictures):
    graph = search(solutions=2, seed=11) | {
        "theirs": ("SaveImage", {"images": ["search", 0], "filename_prefix": "theirs"}),
        "ours": ("PULSESaveImage", {"image": ["search", 0], "report": ["search", 3], "filename_prefix": "ours"}),
    }
    done = run(graph)
    assert done.succeeded(), done.error
    texts = {place["filename"]: picture.text for place, picture in zip(done.images(), pictures(done), strict=True)}
    theirs = [json.loads(text["pulse"])["search"] for name, text in texts.items() if name.startswith("theirs")]
    ours = [json.loads(text["pulse"]) for name, text in texts.items() if name.startswith("ours")]
    assert (len(theirs), len(ours)) == (2, 2)
    assert {row["seed"] for row in theirs[0]["images"]} == {metadata["seed"] for metadata in ours} == {11, 12}
    for metadata in (*theirs, *ours):
        assert (metadata["generator"], metadata["settings"]["steps"]) == ("tiny", 5)
        assert len(metadata["generator_hash"]) == 64
    for name, text in texts.items():
        assert json.loads(text["prompt"])["search"]["class_type"] == "PULSESearch", name
        assert json.loads(text["workflow"]) == {"nodes": len(graph)}


def test_a_cached_search_is_saved_with_its_facts_all_the_same(run, pictures):
    assert run(search(seed=12) | {"look": ("PreviewImage", {"images": ["search", 0]})}).succeeded()
    keep = {"image": ["search", 0], "report": ["search", 3], "filename_prefix": "cached"}
    done = run(search(seed=12) | {"keep": ("PULSESaveImage", keep)})
    assert "search" in done.cached
    (picture,) = pictures(done)
    assert json.loads(picture.text["pulse"])["seed"] == 12

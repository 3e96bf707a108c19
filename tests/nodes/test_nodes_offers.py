"""What newer hosts offer is used there, and the same pack works where it is missing."""

from __future__ import annotations

import pytest
import torch
from fake_host import Socket, newer_io
from PIL import Image
from test_nodes_schema import metadata


@pytest.fixture
def newer(pack, monkeypatch):
    """The pack in a newer host."""
    io = pack.submodule("nodes.offers").io
    for name, value in newer_io().items():
        monkeypatch.setattr(io, name, value, raising=False)
    monkeypatch.setattr(Socket, "advanced", None, raising=False)
    return pack


def test_nodes_are_found_by_what_people_search_for(newer):
    words = {word for node_id in newer.nodes for word in newer.schema(node_id).search_aliases}
    assert {"face", "upscale", "restore", "depixelate", "super resolution"} <= words
    search = newer.schema("PULSESearch")
    assert {"face", "upscale", "restore", "depixelate", "super resolution"} <= set(search.search_aliases)
    assert search.essentials_category


def test_nodes_that_show_something_keep_it_over_a_reload(newer):
    assert newer.schema("PULSESearch").has_intermediate_output
    assert newer.schema("PULSECompare").has_intermediate_output
    assert not newer.schema("LoadStyleGAN").has_intermediate_output


def test_advanced_inputs_are_the_same_in_both_hosts(pack, newer, monkeypatch):
    theirs = {(node, each.id) for node in newer.nodes for each in newer.schema(node).inputs if each.advanced}
    monkeypatch.undo()
    schemas = ((node, pack.schema(node)) for node in pack.nodes)
    ours = {
        (node, each.id) for node, schema in schemas for each in schema.inputs if (each.extra_dict or {}).get("advanced")
    }
    assert theirs == ours
    assert ("PULSESearch", "lr_size") in ours


def test_a_newer_host_only_appends_inputs(pack, newer, monkeypatch):
    theirs = {node: metadata(newer.schema(node)) for node in newer.nodes}
    monkeypatch.undo()
    for node in pack.nodes:
        ours = metadata(pack.schema(node))
        assert theirs[node]["outputs"] == ours["outputs"]
        assert theirs[node]["inputs"][: len(ours["inputs"])] == ours["inputs"]
        assert all(kind == "optional" for _, _, kind in theirs[node]["inputs"][len(ours["inputs"]) :])


def pair():
    before = torch.zeros(2, 8, 8, 3)
    before[1] = 1
    return before, torch.full((4, 32, 32, 3), 0.5)


def run_ui(pack, node_id, **inputs):
    """The node's `ui`, which the host sends to the browser."""
    return pack.nodes[node_id].execute(**inputs).ui


def test_the_slider_gets_each_result_over_its_input(newer, host, models):
    before, after = pair()
    ui = run_ui(newer, "PULSECompare", image=before, result=after, gain=10.0, side=64)
    assert set(ui) == {"a_images", "b_images"}
    for side, colours in (("a_images", [0, 0, 255, 255]), ("b_images", [128] * 4)):
        assert {each["type"] for each in ui[side]} == {"temp"}
        pictures = [Image.open(models.parent / "temp" / each["filename"]) for each in ui[side]]
        assert [picture.getpixel((3, 3)) for picture in pictures] == [(value,) * 3 for value in colours]
        assert {picture.size for picture in pictures} == {(32, 32)}


def test_without_a_slider_nothing_is_saved(pack, host, models):
    before, after = pair()
    assert run_ui(pack, "PULSECompare", image=before, result=after, gain=10.0, side=64) is None
    assert not (models.parent / "temp").exists()

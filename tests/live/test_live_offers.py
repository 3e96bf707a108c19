"""What newer hosts offer, where the host that runs has it; and nothing is missing where it has not."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphs import searched

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def has_slider(known):
    """The host's own node for it came with the widget."""
    return "ImageCompare" in known


def test_the_host_lists_the_blueprints(client, known):
    if "PrimitiveBoundingBox" not in known:
        pytest.skip("a host before blueprints")
    listed = {
        key: entry
        for key, entry in client.get_json("/global_subgraphs").items()
        if entry["info"]["node_pack"].endswith("ComfyUI-PULSE")
    }
    files = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "subgraphs").glob("*.json")}
    assert {entry["name"] for entry in listed.values()} == set(files)
    for key, entry in listed.items():
        assert client.get_json(f"/global_subgraphs/{key}")["data"] == files[entry["name"]]


def test_the_host_learns_aliases_where_it_has_them(known):
    ours, theirs = known["PULSESearch"], known["KSampler"]
    if "search_aliases" in theirs:
        assert {"face", "upscale", "restore"} <= set(ours["search_aliases"])
    assert ours["display_name"] == "PULSE Search"


def test_compare_gives_the_slider_its_pictures(run, has_slider):
    graph = searched(steps=1) | {
        "compare": ("PULSECompare", {"image": ["small", 0], "result": ["search", 0], "side": 64}),
        "show": ("PreviewImage", {"images": ["compare", 0]}),
    }
    done = run(graph)
    assert (done.end, done.error) == ("execution_success", "")
    shown = [data["output"] or {} for data in done.of("executed") if data["node"] == "compare"]
    assert bool(shown) is has_slider
    if has_slider:
        assert [len(shown[0][side]) for side in ("a_images", "b_images")] == [1, 1]


def test_a_box_of_the_hosts_own_node_chooses_a_face(run, known):
    if "PrimitiveBoundingBox" not in known:
        pytest.skip("a host without boxes")
    box = {"x": 690, "y": 195, "width": 60, "height": 80}  # its neighbour is at (760, 179)
    graph = {
        "load": ("LoadImage", {"image": "group_1927.jpg"}),
        "box": ("PrimitiveBoundingBox", box),
        "align": ("PULSEAlignFaces", {"image": ["load", 0], "boxes": ["box", 0], "size": 64}),
        "show": ("PreviewImage", {"images": ["align", 0]}),
    }
    done = run(graph)
    assert (done.end, done.error) == ("execution_success", "")
    assert len(done.images()) == 1

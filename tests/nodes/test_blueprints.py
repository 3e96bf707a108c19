"""The subgraph blueprints that newer hosts offer as nodes: their nodes fit the schemas, and everything is connected."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
from test_nodes_schema import check_saved_node

ROOT = Path(__file__).resolve().parents[2]
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
INPUT, OUTPUT = -10, -20


@pytest.fixture(params=BLUEPRINTS, ids=lambda path: path.stem)
def blueprint(request):
    """(the node that stands for the graph, the graph)."""
    whole = json.loads(request.param.read_text(encoding="utf-8"))
    (outer,), (inner,) = whole["nodes"], whole["definitions"]["subgraphs"]
    assert outer["title"] == inner["name"] == request.param.stem, "the host shows the name of the file"
    return outer, inner


def test_there_is_one_for_each_use():
    assert [path.stem for path in BLUEPRINTS] == ["Restore a photograph", "Upscale a tiny face"]


def test_its_nodes_fit_the_schemas(blueprint, pack):
    _, inner = blueprint
    assert {node["type"] for node in inner["nodes"]} <= set(pack.nodes), "nodes of the pack alone"
    for node in inner["nodes"]:
        check_saved_node(node, pack.schema(node["type"]))


def test_its_links_join_sockets_of_one_type(blueprint):
    outer, inner = blueprint
    assert outer["type"] == inner["id"] == str(UUID(inner["id"]))
    for side in ("inputs", "outputs"):
        assert [(each["name"], each["type"]) for each in outer[side]] == [
            (each["name"], each["type"]) for each in inner[side]
        ]
    nodes = {node["id"]: node for node in inner["nodes"]}
    for link in inner["links"]:
        source, target = link["origin_id"], link["target_id"]
        start = (inner["inputs"] if source == INPUT else nodes[source]["outputs"])[link["origin_slot"]]
        end = (inner["outputs"] if target == OUTPUT else nodes[target]["inputs"])[link["target_slot"]]
        assert start["type"] == end["type"] == link["type"]
        assert link["id"] in start["linkIds" if source == INPUT else "links"]
        assert [link["id"]] == (end["linkIds"] if target == OUTPUT else [end["link"]])
    assert all(each["linkIds"] for each in (*inner["inputs"], *inner["outputs"]))


def test_its_widgets_are_those_of_its_nodes(blueprint, pack):
    outer, inner = blueprint
    types = {str(node["id"]): node["type"] for node in inner["nodes"]}
    shown = outer["properties"]["proxyWidgets"]
    assert ["LoadStyleGAN", "stylegan_file"] in [[types[node], widget] for node, widget in shown]
    assert all(widget in {each.id for each in pack.schema(types[node]).inputs} for node, widget in shown)


def test_its_description_says_that_faces_are_invented(blueprint):
    _, inner = blueprint
    assert "invented" in inner["description"]
    assert "does not exist" in inner["description"]

"""What the host learns of the nodes, and that saved workflows keep fitting them."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("schemas.json")
NAMED = {"LoadStyleGAN", "FitLatentGaussian", "PULSESearch", "BicubicDownsample"}
HELP = ROOT / "web" / "docs"


def has_control(socket: Any) -> bool:
    """The front end gives a seed a second widget, which takes a place among the saved values."""
    default = socket.io_type == "INT" and socket.id in ("seed", "noise_seed")
    return bool(socket.metadata.get("control_after_generate", default))


def metadata(schema: Any) -> dict[str, list[list[str]]]:
    """What a saved workflow depends on: ids, types, order, and the extra widget that a seed brings."""
    inputs = [
        [socket.id, socket.io_type, "optional" if socket.optional else "required"]
        + ["control_after_generate"] * has_control(socket)
        for socket in schema.inputs
    ]
    return {"inputs": inputs, "outputs": [[socket.id, socket.io_type] for socket in schema.outputs]}


def is_extended(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return all(new[side][: len(old[side])] == old[side] for side in ("inputs", "outputs"))


@pytest.fixture
def current(pack) -> dict[str, Any]:
    return {node_id: metadata(pack.schema(node_id)) for node_id in sorted(pack.nodes)}


def test_the_named_nodes_are_there_and_all_others_begin_with_pulse(pack):
    assert set(pack.nodes) >= NAMED
    assert all(node_id.startswith("PULSE") for node_id in set(pack.nodes) - NAMED)


def test_every_node_and_every_socket_explains_itself(pack):
    for node_id in pack.nodes:
        schema = pack.schema(node_id)
        assert schema.display_name
        assert schema.description
        assert schema.category
        silent = [socket.id for socket in (*schema.inputs, *schema.outputs) if not socket.tooltip]
        assert not silent, f"{node_id}: {silent} have no tooltip"


def test_every_widget_has_a_default_that_it_accepts(pack):
    for node_id in pack.nodes:
        for socket in pack.schema(node_id).inputs:
            default, known = socket.metadata.get("default"), socket.metadata
            if socket.io_type in ("INT", "FLOAT"):
                assert known["min"] <= default <= known["max"], f"{node_id}.{socket.id}"
            if socket.io_type == "COMBO":
                assert default is None or default in known["options"], f"{node_id}.{socket.id}"
                assert known["options"] or socket.id == "latent_file", f"{node_id}.{socket.id}"  # none saved yet


def test_only_the_everyday_inputs_are_shown_at_first(pack):
    advanced = {socket.id for socket in pack.schema("PULSESearch").inputs if (socket.extra_dict or {}).get("advanced")}
    everyday = {
        "seed",
        "steps",
        "solutions",
        "eps",
        "preview_every",
        "preset",
        "prior_sample_scale",
        "fidelity",
        "seeds",
        "glasses",
    }
    widgets = {socket.id for socket in pack.schema("PULSESearch").inputs if "default" in socket.metadata}
    assert widgets - advanced == everyday


def test_the_loader_fits_workflows_of_the_existing_stylegan_pack(current):
    assert current["LoadStyleGAN"]["inputs"][0][:2] == ["stylegan_file", "COMBO"]
    assert [kind for _, kind in current["LoadStyleGAN"]["outputs"]] == ["STYLEGAN"]


def test_a_fit_keeps_its_seed_from_run_to_run(current):
    """A seed that changes after each run would have a million samples drawn again and the shipped fit ignored."""
    assert ["seed", "INT", "required"] in current["FitLatentGaussian"]["inputs"]


def test_the_sockets_have_the_names_that_other_packs_use(current):
    search = current["PULSESearch"]
    kinds = {name: kind for name, kind, *_ in search["inputs"] + search["outputs"]}
    assert (kinds["stylegan"], kinds["latent"], kinds["gaussian"]) == ("STYLEGAN", "STYLEGAN_LATENT", "LATENT_GAUSSIAN")


def test_saved_workflows_still_fit(current):
    """Inputs and outputs are only ever appended. UPDATE_SCHEMAS=1 records what was appended, and nothing else."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.is_file() else {}
    gone = {"inputs": [], "outputs": []}
    broken = [node_id for node_id, old in golden.items() if not is_extended(old, current.get(node_id, gone))]
    assert not broken, f"saved workflows with {', '.join(broken)} would break; append, do not insert, rename or remove"
    if os.environ.get("UPDATE_SCHEMAS") == "1":
        rows = (f" {json.dumps(node_id)}: {rows_of(node)}" for node_id, node in current.items())
        GOLDEN.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
        golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert golden == current, (
        "record what was appended: UPDATE_SCHEMAS=1 python -m pytest tests/nodes -k saved_workflows"
    )


def rows_of(node: dict[str, Any]) -> str:
    """JSON with one socket a line, so that a change is a line."""
    sides = ("  " + json.dumps(side) + ": [\n" + ",\n".join(f"   {json.dumps(row)}" for row in rows) + "\n  ]"
             for side, rows in node.items())  # fmt: skip
    return "{\n" + ",\n".join(sides) + "\n }"


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_the_shipped_workflows_fit_the_schemas(path, pack):
    """Saved values go by their places: one too many, or two exchanged, would be read as something else."""
    for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
        if node["type"] in pack.nodes:
            check_saved_node(node, pack.schema(node["type"]))


def check_saved_node(node: dict[str, Any], schema: Any) -> None:
    """Asserts that a saved node's values and sockets are those of the schema."""
    left = list(node.get("widgets_values") or [])
    for socket in filter(is_widget, schema.inputs):
        assert is_accepted(socket, left.pop(0)), f"{node['type']}.{socket.id}"
        if has_control(socket):
            assert left.pop(0) in ("fixed", "increment", "decrement", "randomize")
    assert not left
    sockets = [[socket.id, socket.io_type] for socket in schema.inputs if not is_widget(socket)]
    assert [[socket["name"], socket["type"]] for socket in node["inputs"]] == sockets
    outputs = [[socket.metadata["display_name"], socket.io_type] for socket in schema.outputs]
    assert [[socket["name"], socket["type"]] for socket in node["outputs"]] == outputs


def is_widget(socket: Any) -> bool:
    return socket.io_type in ("INT", "FLOAT", "STRING", "COMBO") and not socket.metadata.get("force_input")


def is_accepted(socket: Any, value: Any) -> bool:
    known = socket.metadata
    if socket.io_type == "COMBO":
        return value in known["options"] or socket.id == "stylegan_file"  # not on every machine
    if socket.io_type == "STRING":
        return isinstance(value, str)
    whole = socket.io_type == "FLOAT" or isinstance(value, int)
    return not isinstance(value, str) and whole and known["min"] <= value <= known["max"]


@pytest.mark.parametrize("change", ["inserted", "renamed", "retyped", "reordered", "removed", "made optional"])
def test_the_guard_of_saved_workflows_notices(change):
    old = {"inputs": [["a", "INT", "required"], ["b", "FLOAT", "required"]], "outputs": [["c", "IMAGE"]]}
    a, b = old["inputs"]
    changed = {
        "inserted": [a, ["new", "INT", "required"], b],
        "renamed": [a, ["other", "FLOAT", "required"]],
        "retyped": [a, ["b", "INT", "required"]],
        "reordered": [b, a],
        "removed": [a],
        "made optional": [a, ["b", "FLOAT", "optional"]],
    }[change]
    assert not is_extended(old, {**old, "inputs": changed})
    assert is_extended(old, {**old, "inputs": [a, b, ["new", "INT", "optional"]]})


def test_importing_the_pack_imports_nothing_heavy():
    """The host imports every pack at its start; the work waits until the host asks for nodes."""
    code = """
import importlib.util, sys
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("pack", "__init__.py", submodule_search_locations=["."])
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
print(*(set(sys.modules) - before), module.WEB_DIRECTORY)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names = run.stdout.split()
    assert {"pack", "./web"} <= set(names)
    heavy = ("torch", "numpy", "PIL", "safetensors", "pulse_core", "nodes")
    assert not [name for name in names if any(part in heavy for part in name.split("."))]


def labels(pack, node_id, language):
    """The names of a node's inputs and outputs as the front end shows them."""
    if language == "en":
        schema = pack.schema(node_id)
        return [socket.id for socket in schema.inputs] + [output.metadata["display_name"] for output in schema.outputs]
    texts = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))[node_id]
    return [each["name"] for each in (*texts["inputs"].values(), *texts["outputs"].values())]


@pytest.mark.parametrize(("language", "example"), [("en", "## Example"), ("zh", "## 示例")])
def test_every_node_has_a_help_page_with_its_inputs_its_outputs_an_example_and_a_picture(pack, language, example):
    """Pictures are named from web/docs, as front ends resolve them."""
    for node_id in pack.nodes:
        page = (HELP / node_id / f"{language}.md").read_text(encoding="utf-8")
        missing = [name for name in labels(pack, node_id, language) if f"**{name}**" not in page]
        assert not missing, f"{node_id}: {missing}"
        assert example in page, node_id
        (picture,) = re.findall(r"!\[[^]]+\]\((.+)\)", page)
        assert (HELP / picture).is_file(), picture


def test_there_is_no_help_for_nodes_that_are_not_there(pack):
    assert {path.stem for path in HELP.iterdir() if path.name != "pictures"} == set(pack.nodes)
    assert {path.stem for path in (HELP / "pictures").glob("*")} == set(pack.nodes)


def test_the_nodes_that_say_something_are_those_whose_text_is_shown(pack):
    telling = {node_id for node_id, node in pack.nodes.items() if "host.summary(" in inspect.getsource(node)}
    asked = {
        node_id for node_id, node in pack.nodes.items() if "has_intermediate_output=True" in inspect.getsource(node)
    }
    listed = (ROOT / "web" / "summary.js").read_text(encoding="utf-8").partition("new Set([")[2].partition("])")[0]
    assert set(re.findall(r'"(\w+)"', listed)) == telling <= asked

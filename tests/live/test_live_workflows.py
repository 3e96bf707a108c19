"""Every workflow that the pack ships runs on the server, with the default generator and few steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from graphs import to_api

from pulse_core.loading import catalogue

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
FEW = 3


@pytest.mark.weights
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_shipped_workflow_runs(path, server, client, known):
    row = catalogue.entry(catalogue.DEFAULT_GENERATOR)
    if not (server.base / "weights" / row.file).is_file():
        pytest.skip(f"run: python -m pulse_core fetch {row.name}")
    graph = to_api(json.loads(path.read_text(encoding="utf-8")), known)
    searches = [node["inputs"] for node in graph.values() if "steps" in node["inputs"]]
    for inputs in searches:
        inputs["steps"], inputs["solutions"] = FEW, min(inputs["solutions"], 2)
    done = client.run(graph, timeout=300)
    assert (done.end, done.error) == ("execution_success", "")
    assert done.images()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_template_browser_gets_the_workflow_and_its_picture(path, server, client):
    assert path.stem in client.get_json("/api/workflow_templates")["ComfyUI-PULSE"]
    for suffix in (".json", ".jpg"):
        served = client.get(f"/api/workflow_templates/ComfyUI-PULSE/{path.stem}{suffix}")
        assert served == path.with_suffix(suffix).read_bytes()

"""What publishing needs: the registry's fields, an archive that is whole, workflows that name what is there."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from pulse_core.loading import catalogue

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {
    path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
# of https://docs.comfy.org/registry/specifications
ACCELERATORS = {"NVIDIA CUDA", "AMD ROCm", "Intel Arc", "Apple Metal"}
OPENED = {"__init__.py", "install.py", "nodes", "pulse_core", "web", "locales", "weights"}
OPENED |= {"workflows", "subgraphs", "samples"}
READ = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "requirements.txt"}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib").loads(PYPROJECT)


def left_out(name: str) -> bool:
    """Whether .comfyignore keeps this file or folder of the root out of the archive."""
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch("/[^/]+/?", pattern) for pattern in patterns), "a line names one thing in the root"
    return any(fnmatch(name, pattern.strip("/")) for pattern in patterns)


def test_the_registry_finds_what_it_asks_for(pyproject):
    project, comfy = pyproject["project"], pyproject["tool"]["comfy"]
    assert re.fullmatch("[a-z]([-_.]?[a-z0-9])*", project["name"])
    assert len(project["name"]) < 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["description"]
    assert comfy["DisplayName"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert (ROOT / project["license"]["file"]).is_file()


def test_the_registry_knows_the_accelerators(pyproject):
    named = [line for line in pyproject["project"]["classifiers"] if line.startswith("Environment ::")]
    assert named
    assert {line.removeprefix("Environment :: GPU :: ") for line in named} <= ACCELERATORS


def test_publishing_fills_lines_that_are_there_and_empty(pyproject):
    assert (pyproject["tool"]["comfy"]["PublisherId"], pyproject["project"]["urls"]) == ("", {})
    for line in ("PublisherId = ", "[project.urls]"):
        assert len(re.findall(f"^{re.escape(line)}", PYPROJECT, re.MULTILINE)) == 1, line


def test_the_version_is_the_newest_of_the_changelog(pyproject):
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == pyproject["project"]["version"]


@pytest.mark.parametrize(
    "name", ["tests", "bench", "out", "Makefile", "requirements-dev.txt", ".ci", ".github", ".venv"]
)
def test_the_archive_leaves_out_what_only_developers_need(name):
    assert left_out(name)


def test_the_archive_has_whatever_a_user_runs_or_reads():
    assert not {name for name in OPENED | READ if left_out(name)}


def test_the_tests_run_with_every_python_that_the_pack_names():
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    (tried,) = re.findall(r"python: \[(.*)\]", WORKFLOWS["test"])
    assert re.findall(r'"(.*?)"', tried) == named


def test_the_oldest_comfyui_that_the_pack_names_is_tried(pyproject):
    oldest = pyproject["tool"]["comfy"]["requires-comfyui"].removeprefix(">=")
    assert f"comfyui: [v{oldest}, master]" in WORKFLOWS["live"]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_the_workflows_name_files_that_exist(workflow):
    words = {word.removeprefix("ComfyUI-PULSE/") for word in re.findall(r"[\w./-]+", WORKFLOWS[workflow])}
    files = {word for word in words if word.endswith((".txt", ".json", ".toml")) or word.startswith((".ci/", "tests/"))}
    files = {file for file in files if "ComfyUI/" not in file}  # the host's own
    assert files
    assert not {file for file in files if not (ROOT / file).exists()}
    assert f"weights/{catalogue.entry(catalogue.DEFAULT_GENERATOR).file}" in words


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_actions_are_pinned_by_commit(workflow):
    used = re.findall(r"uses: *(\S+)(.*)", WORKFLOWS[workflow])
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), f"{action}: a tag can be moved to other code"
        assert re.fullmatch(r"  # \S.*", comment), f"{action}: say which version it is"


def test_only_one_step_gets_the_registrys_token():
    text = WORKFLOWS["publish"]
    (given,) = [line for line in text.splitlines() if "secrets." in line and "!= ''" not in line]
    before = text[: text.index(given)]
    assert re.findall(r"uses: (\S+)@[0-9a-f]{40}", before)[-1] == "Comfy-Org/publish-node-action"

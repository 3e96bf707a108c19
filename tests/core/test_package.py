"""What the pack promises about itself: cheap to import, nothing dragged in, one version."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None


def test_importing_the_core_imports_no_torch():
    code = "import sys, pulse_core; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_library_names_exist():
    import pulse_core
    import pulse_core.latent_search.loop

    for name in pulse_core.__all__:
        assert getattr(pulse_core, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pulse_core.nothing


def requirements():
    text = (ROOT / "requirements.txt").read_text()
    return {re.split(r"[><=~ ]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}


def test_users_get_neither_torch_nor_anything_comfyui_lacks():
    comfyui = {"numpy", "pillow", "safetensors", "einops", "tqdm", "scipy", "pyyaml", "psutil"}
    assert requirements() <= comfyui


@pytest.mark.skipif(tomllib is None, reason="Python 3.10 has no tomllib")
def test_pyproject_agrees():
    import pulse_core

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    folders = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in (ROOT / "pulse_core").rglob("*.py")}
    assert set(pyproject["tool"]["setuptools"]["packages"]) == folders
    assert project["version"] == pulse_core.__version__
    assert {re.split(r"[><=~ ]", line)[0] for line in project["dependencies"]} == requirements()
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()


def sources(folder):
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_the_core_never_imports_the_host():
    host = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "nodes", "server"}
    for path, tree in sources("pulse_core"):
        assert not {name.split(".")[0] for name in imports(tree)} & host, path


def test_only_one_file_touches_comfy_and_one_the_hosts_folders():
    homes = {"comfy": "host.py", "server": "host.py", "comfy_execution": "host.py", "folder_paths": "folders.py"}
    for path, tree in sources("nodes"):
        touched = {name.split(".")[0] for name in imports(tree)} & set(homes)
        assert {homes[name] for name in touched} <= {path.name}, path


def test_no_global_random_state_no_pickle_no_broad_except():
    for folder in ("pulse_core", "nodes"):
        for path, tree in sources(folder):
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    assert called not in {"torch.manual_seed", "eval", "exec", "pickle.load", "pickle.loads"}, path
                if isinstance(node, ast.ExceptHandler):
                    assert node.type is not None, path
                    assert ast.unparse(node.type) not in {"Exception", "BaseException"}, path


def test_no_other_folder_hides_the_workflows():
    # ComfyUI serves the first of these folders that exists, and none after it
    served = ["example_workflows", "example", "examples", "workflow", "workflows"]
    assert [name for name in served if (ROOT / name).is_dir()] == ["workflows"]
    names = {path.stem for path in (ROOT / "workflows").glob("*.json")}
    assert names == {path.stem for path in (ROOT / "workflows").glob("*.jpg")}
    assert names

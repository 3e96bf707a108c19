"""The library's public names: described, typed, and on the page of docs/api.md."""

from __future__ import annotations

import ast

from conftest import ROOT

import pulse_core
from bench import api


def test_the_page_is_what_the_docstrings_say():
    assert api.PAGE.read_text(encoding="utf-8") == api.page(), "write it again: python -m bench.api"


def test_every_public_name_has_a_docstring():
    for module, names in pulse_core._PUBLIC.items():
        tree = ast.parse((ROOT / "pulse_core" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        for name in names:
            node = api._find(tree, name)
            assert isinstance(node, ast.Assign) or ast.get_docstring(node), name


def test_type_checkers_see_every_public_name():
    tree = ast.parse((ROOT / "pulse_core" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert seen == {(module, name) for name, module in pulse_core._HOMES.items()}
    assert (ROOT / "pulse_core" / "py.typed").is_file()

"""Writes docs/api.md from the docstrings of pulse_core's public names: python -m bench.api.

It reads the source without importing it, so that the page is the same on every Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pulse_core

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "api.md"
_SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
_ITEM = re.compile(r"[\w*]+(?:, [\w*]+)*: ")
_LENGTH = 100  # of a signature on one line

Named = ast.ClassDef | ast.FunctionDef | ast.Assign


def page() -> str:
    """The whole page."""
    intro = "# The library\n\nWritten by `python -m bench.api` from the docstrings; do not edit it by hand.\n"
    contents = [f"- `{module}`: " + ", ".join(_link(name) for name in names) for module, names in _modules()]
    return "\n".join([intro, *contents, "", *(text for module, names in _modules() for text in _module(module, names))])


def _modules() -> Iterator[tuple[str, tuple[str, ...]]]:
    return ((f"pulse_core.{module}", names) for module, names in pulse_core._PUBLIC.items())


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _module(module: str, names: tuple[str, ...]) -> Iterator[str]:
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    for name in names:
        yield f"## {name}\n"
        yield "\n\n".join(_described(_find(tree, name), f"{module}.{name}")) + "\n"


def _find(tree: ast.Module, name: str) -> Named:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node]
        for target in targets:
            if name in (getattr(target, "name", None), getattr(target, "id", None)):
                assert isinstance(node, Named)
                return node
    raise LookupError(name)


def _described(node: Named, path: str) -> Iterator[str]:
    if isinstance(node, ast.Assign):
        yield f"```python\n{path}: {', '.join(ast.unparse(key) for key in getattr(node.value, 'keys', []))}\n```"
        return
    if isinstance(node, ast.FunctionDef):
        yield f"```python\n{_signature(node, path)}\n```"
        yield from _docstring(node)
        return
    bases = ", ".join(map(ast.unparse, node.bases))
    fields = [f"    {ast.unparse(each.target)}: {ast.unparse(each.annotation)}" for each in _fields(node)]
    head = f"class {path}" + (f"({bases})" if bases else "") + (":" if fields else "")
    yield "\n".join(["```python", head, *fields, "```"])
    yield from _docstring(node)
    if members := list(_members(node)):
        yield "\n".join(members)


def _fields(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    """Those of a dataclass."""
    if any("dataclass" in ast.unparse(each) for each in node.decorator_list):
        annotated = (each for each in node.body if isinstance(each, ast.AnnAssign))
        yield from (each for each in annotated if not ast.unparse(each.target).startswith("_"))


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Public methods and properties, with the first paragraph of their docstrings."""
    for each in node.body:
        summary = ast.get_docstring(each) if isinstance(each, ast.FunctionDef) else None
        if not isinstance(each, ast.FunctionDef) or each.name.startswith("_") or summary is None:
            continue
        is_property = any(ast.unparse(decorator) == "property" for decorator in each.decorator_list)
        returns = f" -> {ast.unparse(each.returns)}" if each.returns is not None else ""
        call = each.name + returns.replace(" -> ", ": ") if is_property else _signature(each, each.name, one_line=True)
        yield f"- `{call}`  \n  " + " ".join(summary.split("\n\n")[0].split())


def _signature(node: ast.FunctionDef, path: str, *, one_line: bool = False) -> str:
    arguments = node.args
    is_method = bool(arguments.args) and arguments.args[0].arg in ("self", "cls")
    shown = ast.arguments(
        arguments.posonlyargs,
        arguments.args[1:] if is_method else arguments.args,
        arguments.vararg,
        arguments.kwonlyargs,
        arguments.kw_defaults,
        arguments.kwarg,
        arguments.defaults,
    )
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    line = f"{path}({ast.unparse(shown)}){returns}"
    if one_line or len(line) <= _LENGTH:
        return line
    lines = (re.sub(r"(: .*[^=])=", r"\1 = ", part) for part in _split(ast.unparse(shown)))
    return f"{path}(\n" + "".join(f"    {line},\n" for line in lines) + f"){returns}"


def _split(arguments: str) -> list[str]:
    """At the commas outside of brackets."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _docstring(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    for block in (ast.get_docstring(node) or "").split("\n\n"):
        head, _, rest = block.partition("\n")
        title, _, text = head.partition(":")
        if title in _SECTIONS and (text or rest):
            yield f"**{title}**" + (":" + text if text else "") + _items(rest, indented=not text)
        else:
            yield _items(block, indented=False).lstrip("\n")


def _items(text: str, *, indented: bool) -> str:
    """Lines like "name: what it is" as a list; others as they are."""
    lines = []
    inner = len(text) - len(text.lstrip()) if indented else 0
    for line in text.split("\n"):
        starts = len(line) - len(line.lstrip()) <= inner
        if starts and (match := _ITEM.match(line.strip())) and (indented or _is_field(line)):
            lines.append(f"- `{match.group()[:-2]}`: {line.strip()[match.end() :]}")
        elif line.strip():
            lines.append(("  " if lines and lines[-1].startswith(("- ", "  ")) else "") + line.strip())
    return ("\n\n" if indented and lines else "\n" if lines else "") + "\n".join(lines)


def _is_field(line: str) -> bool:
    """In a class's docstring: "ws: [num_ws, w_dim]" describes an attribute, "Note: this" does not."""
    return line[:1].islower()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

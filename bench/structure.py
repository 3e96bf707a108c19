"""The structure of a checkout in figures: `python -m bench.structure [PATH]` prints Markdown tables.

Files, lines, rooms, which room imports which, circles of imports, the longest files and functions. It reads the source
and imports nothing of it, so that any checkout of any age can be measured.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CODE = ("pulse_core", "nodes")
LONGEST = 8
LONG_FILE, LONG_FUNCTION = 400, 60  # lines; the house rules


@dataclass
class Module:
    """One file. at_import: the modules that it imports when it is imported; later: inside functions, or for types only.

    functions: (lines, name).
    """

    name: str
    path: Path
    lines: int
    at_import: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    functions: list[tuple[int, str]] = field(default_factory=list)

    @property
    def room(self) -> str:
        """The folder under pulse_core that it lies in, or the file itself."""
        first, *rest = self.name.split(".")
        return rest[0] if first == "pulse_core" and rest else first


def read(root: Path) -> dict[str, Module]:
    """The modules of a checkout, by name."""
    paths = {_name(path.relative_to(root)): path for top in CODE for path in sorted((root / top).rglob("*.py"))}
    modules = {}
    for name, path in paths.items():
        text = path.read_text(encoding="utf-8")
        module = modules[name] = Module(name, path.relative_to(root), len(text.splitlines()))
        tree = ast.parse(text)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node, is_deferred in _imports(tree.body, deferred=False):
            found = module.later if is_deferred else module.at_import
            found.update(target for target in _targets(node, package, paths) if target != name)
        module.later -= module.at_import
        module.functions = sorted(_functions(tree, name), reverse=True)
    return modules


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(body: Iterable[ast.AST], *, deferred: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, deferred
            continue
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(ast.iter_child_nodes(node), deferred=deferred or is_for_types or is_function)


def _targets(node: ast.Import | ast.ImportFrom, package: str, known: Iterable[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
        return
    base = node.module or ""
    if node.level:
        parents = package.split(".")
        kept = parents[: len(parents) - node.level + 1]
        base = ".".join([*kept, *([node.module] if node.module else [])])
    for alias in node.names:
        full = f"{base}.{alias.name}"
        if full in known:
            yield full
        elif base in known:
            yield base


def _functions(tree: ast.AST, module: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{module}.{node.name}"


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(arrows.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            component, stack[at:] = stack[at:], []
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return found


def rooms_of(modules: dict[str, Module]) -> dict[str, set[str]]:
    """Which rooms each room imports when it is imported."""
    arrows: dict[str, set[str]] = {module.room: set() for module in modules.values()}
    for module in modules.values():
        arrows[module.room] |= {modules[name].room for name in module.at_import} - {module.room}
    return arrows


def _figures(modules: dict[str, Module], root: Path) -> Iterator[tuple[str, str]]:
    """The rows of the first table."""
    arrows = rooms_of(modules)
    code = list(modules.values())
    entries = [path for path in (root / "pulse_core").iterdir() if path.name != "__pycache__"]
    loose = [path for path in entries if path.is_file()]
    between = {name: module.at_import for name, module in modules.items()}
    functions = [length for module in code for length, _ in module.functions]
    yield "files", str(len(code))
    yield "lines", str(sum(module.lines for module in code))
    yield "entries in pulse_core", f"{len(entries)}, {len(loose)} of them loose files"
    yield "arrows between rooms, at import", str(sum(map(len, arrows.values())))
    yield "circles of modules, at import", _listed(circles(between))
    yield "circles of rooms, at import", _listed(circles(arrows))
    everything = {name: module.at_import | module.later for name, module in modules.items()}
    yield "circles of modules, imports inside functions and for types included", _listed(circles(everything))
    yield f"files of more than {LONG_FILE} lines", str(sum(module.lines > LONG_FILE for module in code))
    yield f"functions of more than {LONG_FUNCTION} lines", str(sum(length > LONG_FUNCTION for length in functions))


def _listed(found: list[list[str]]) -> str:
    shown = ["{" + ", ".join(name.removeprefix("pulse_core.") for name in circle) + "}" for circle in found]
    return f"{len(found)}" + (": " + "; ".join(shown) if found else "")


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], right: int) -> list[str]:
    """Markdown; the last `right` columns to the right."""
    rule = ["---"] * (len(titles) - right) + ["--:"] * right
    return [f"| {' | '.join(row)} |" for row in [titles, rule, *rows]]


def report(root: Path) -> str:
    """All tables of a checkout."""
    modules = read(root)
    arrows = rooms_of(modules)
    rooms = []
    for room in sorted(arrows):
        own = [module for module in modules.values() if module.room == room]
        size = [str(len(own)), str(sum(module.lines for module in own))]
        rooms.append([room, *size, ", ".join(sorted(arrows[room])) or "nothing"])
    files = sorted(((module.lines, str(module.path)) for module in modules.values()), reverse=True)[:LONGEST]
    functions = sorted((pair for module in modules.values() for pair in module.functions), reverse=True)[:LONGEST]
    lengths = [
        [path, str(lines), name.removeprefix("pulse_core."), str(length)]
        for (lines, path), (length, name) in zip(files, functions, strict=True)
    ]
    return "\n".join(
        [
            *_table(["figure", "value"], _figures(modules, root), 0),
            "",
            *_table(["room", "files", "lines", "imports"], rooms, 0),
            "",
            *_table(["longest files", "lines", "longest functions", "lines"], lengths, 0),
        ]
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.structure", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=Path(__file__).resolve().parents[1], metavar="PATH")
    print(report(parser.parse_args().path))


if __name__ == "__main__":
    main()

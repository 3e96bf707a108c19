"""The fast tier: which tests are slow, by measurement.

tests/slow.json names the test functions and the fixtures that took more than LIMIT seconds of CPU time when
`make test-times` last ran. A test is marked `slow` if it is named, or uses a named fixture; `make test-fast` leaves it
out. What is new or renamed is not named, and so runs in the fast tier, which says when it took too long.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parent / "slow.json"
LIMIT = 0.15  # seconds of a case, in the mean over a function's cases
TOTAL = 0.5  # seconds of all cases of a function

_cases: dict[str, list[float]] = defaultdict(list)  # seconds of each case, by function
_fixtures: dict[str, float] = defaultdict(float)  # the longest setup of each, without that of other fixtures
_nested: list[float] = []  # seconds of the fixtures that the ones being set up have asked for


def seconds() -> float:
    """CPU time of this process and of its children that have ended: other programs do not count."""
    return sum(os.times()[:4])


def slow() -> dict[str, list[str]]:
    """The names in the file: functions and fixtures."""
    names: dict[str, list[str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return names


def name_of(item: pytest.Item) -> str:
    """Of a test's function: tests/core/test_docs.py::test_every_page_is_linked."""
    return item.nodeid.partition("[")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", action="store_true", help="write tests/slow.json anew; with -m, only add to it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = slow()
    functions, fixtures = set(names["functions"]), set(names["fixtures"])
    for item in items:
        used = {_fixture_name(each[-1]) for each in _fixture_defs(item).values() if each}
        if name_of(item) in functions or used & fixtures:
            item.add_marker(pytest.mark.slow)


def _fixture_defs(item: pytest.Item) -> dict[str, Any]:
    return getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})


def _fixture_name(definition: Any) -> str:
    return f"{definition.baseid}::{definition.argname}"


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Iterator[None]:
    before = seconds()
    _nested.append(0.0)
    yield
    taken = seconds() - before
    own = taken - _nested.pop()
    if _nested:
        _nested[-1] += taken
    name = _fixture_name(fixturedef)
    _fixtures[name] = max(_fixtures[name], own)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    before = seconds()
    yield
    _cases[name_of(item)].append(seconds() - before)


def too_slow() -> dict[str, list[str]]:
    """What took too long in this run."""
    functions = [name for name, each in _cases.items() if sum(each) / len(each) > LIMIT or sum(each) > TOTAL]
    return {
        "functions": sorted(functions),
        "fixtures": sorted(name for name, each in _fixtures.items() if each > LIMIT),
    }


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("--times"):
        known = slow() if config.getoption("markexpr") else {}  # what did not run is as slow as it was
        names = {kind: sorted({*found, *known.get(kind, ())}) for kind, found in too_slow().items()}
        FILE.write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
        terminalreporter.write_line(f"wrote {FILE}")
    elif config.getoption("markexpr") == "not slow":
        known = slow()
        found = [name for kind, names in too_slow().items() for name in names if name not in known[kind]]
        for name in found:
            terminalreporter.write_line(f"not fast: {name} (tests/slow.json does not name it)")
        if found:
            terminalreporter.write_line("make test-fast ARGS=--times adds them; make test-times writes the list anew")

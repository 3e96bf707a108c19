"""Options: every one is read, in range, and has its limits checked."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pulse_core.degradations import DEGRADATIONS
from pulse_core.errors import SettingError
from pulse_core.faces.finding import FindSettings
from pulse_core.faces.pasting import PasteSettings
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latent_search.losses import TERMS
from pulse_core.settings import REQUIRED, Settings, option, options

CORE = Path(__file__).resolve().parents[2] / "pulse_core"
SETTINGS = (SearchConfig, FindSettings, PasteSettings)
NAMES = ("config", "settings", "lenient", "self")  # of variables and attributes that hold settings


def attributes(source: str) -> set[tuple[str, str]]:
    """(last name of the owner, attribute) of each attribute that is read, as in self.config.steps."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            found.add((name, node.attr))
    return found


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_is_read(kind):
    own = Path(inspect.getfile(kind))
    read = {pair for file in CORE.rglob("*.py") if file != own for pair in attributes(file.read_text("utf-8"))}
    read = {name for owner, name in read if owner in NAMES[:-1]}
    read |= {name for owner, name in attributes(own.read_text("utf-8")) if owner in NAMES}
    assert {each.name for each in options(kind)} <= read


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_every_option_of_a_degradation_is_read(kind):
    files = {sys.modules[each.__module__] for each in kind.__mro__ if each.__module__.startswith("pulse_core")}
    read = {name for file in files for owner, name in attributes(inspect.getsource(file)) if owner == "self"}
    assert {each.name for each in kind.options()} <= read


@pytest.mark.parametrize("kind", SETTINGS)
def test_defaults_are_in_range_and_limits_are_inclusive(kind):
    default = kind()
    for each in options(kind):
        assert each.help
        assert each.accepts(each.default)
        for limit in (each.low, each.high):
            if limit is not None:
                assert getattr(replace(default, **{each.name: limit}), each.name) == limit
                beyond = limit + (1 if limit == each.high else -1)
                with pytest.raises(SettingError, match=rf"^{each.name} is {re.escape(str(beyond))}\."):
                    replace(default, **{each.name: beyond})


def test_a_wrong_type_is_a_setting_error():
    with pytest.raises(SettingError, match=r"steps is 1\.5\. Accepted: whole numbers 0 to 100000 \(steps\)\."):
        SearchConfig(steps=1.5)
    with pytest.raises(SettingError, match="eps is x"):
        SearchConfig(eps="x")
    assert isinstance(SearchConfig(eps=1).eps, float)


def test_the_help_of_loss_names_every_term():
    (loss,) = (each for each in options(SearchConfig) if each.name == "loss")
    assert all(term.name in loss.help for term in TERMS)


@dataclass(frozen=True)
class Example(Settings):
    width: int | None = option(REQUIRED, "width", unit="pixels", low=1)
    height: int = option(3, "height", low=1, same_as="width")
    layers: tuple[int, ...] = option((), "layers")
    plain: int = 5


def test_what_an_option_knows_of_itself():
    width, height, layers = options(Example)
    assert (width.kind, height.kind, layers.kind) == (int, int, tuple)
    assert (width.is_required, height.is_required) == (True, False)
    assert width.range == "whole numbers from 1 up (pixels)"
    assert (width.parse("7"), width.parse("x"), width.parse("7.5")) == (7, "x", "7.5")
    assert options(int) == ()

"""Options: dataclass fields that carry their own help text, unit and range.

Settings and degradations are made of them. The range checks, the command line, the text form of a degradation and the
nodes' widgets read the same fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import lru_cache
from numbers import Real
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .errors import SettingError

_SHOWN = 60  # characters of a value in an error
REQUIRED = MISSING  # as the default of an option: there is none
# Where the nodes show an option. basic: on the node. advanced: on the node, folded. appended: after the node's other
# inputs, optional, so that workflows saved without it still run; last: after those. settings: on the node for rarely
# used settings.
Widget = Literal["basic", "advanced", "appended", "last", "settings", "none"]


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    same_as: str | None = None,
    file: bool = False,
    widget: Widget = "basic",
    step: float = 0.01,
) -> Any:
    """A dataclass field with its description; `options` reads it.

    Args:
        default: REQUIRED if there is none.
        low, high: inclusive; None is no limit.
        same_as: the earlier option whose value is the default.
        file: in text, the path of a picture file stands for the value.
        step: of the node's widget, for floats.
    """
    description = {"help": help, "unit": unit, "low": low, "high": high, "choices": choices}
    description |= {"same_as": same_as, "file": file, "widget": widget, "step": step}
    return field(default=default, metadata=description)


@dataclass(frozen=True)
class Option:
    """The description of one field; see `option`. kind: the field's type, without "or None"."""

    name: str
    kind: type
    default: Any
    help: str
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...] | None
    same_as: str | None
    file: bool
    widget: Widget
    step: float

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED and self.same_as is None

    @property
    def label(self) -> str:
        """Its name in text, as in blur(sigma) and mask(file)."""
        return "file" if self.file else self.name

    @property
    def range(self) -> str:
        """The accepted values, for errors and help: "0.1 to 100 (pixels)"."""
        if self.file:
            return "the path of a picture file"
        if self.choices is not None:
            return f"one of {', '.join(self.choices)}"
        numbers = "whole numbers " if self.kind is int else ""
        limits = f"from {self.low} up" if self.high is None else f"{self.low} to {self.high}"
        return numbers + limits + (f" ({self.unit})" if self.unit else "")

    def accepts(self, value: Any) -> bool:
        """Whether the value is one of the choices, or a number of this type within the range."""
        if self.choices is not None:
            return value in self.choices
        if self.kind not in (int, float):
            return True
        if not isinstance(value, Real):
            return False
        try:
            number = float(value)
        except OverflowError:  # a whole number of more than 308 digits
            return False
        if not math.isfinite(number) or (self.kind is int and not number.is_integer()):
            return False
        return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)

    def check(self, value: Any, owner: str = "") -> Any:
        """The value, numbers as int or float.

        Args:
            owner: what the option belongs to, for the error: "blur".

        Raises:
            SettingError: the value is not accepted.
        """
        if self.accepts(value):
            return self.kind(value) if self.kind in (int, float) else value
        name = f"{self.name} of {owner}" if owner else self.name
        if self.choices is not None:
            raise SettingError(f"{name} is {_shown(value, repr)}.", f"{self.range}.", "choose one of these.")
        raise SettingError(f"{name} is {_shown(value, str)}.", f"{self.range}.", f"set {self.name} inside this range.")

    def parse(self, text: str) -> Any:
        """The number in a text; the text itself if there is none, which `check` then rejects."""
        if self.kind not in (int, float):
            return text
        try:
            return self.kind(text)
        except ValueError:
            return text


def _shown(value: Any, to_text: Callable[[Any], str]) -> str:
    """The value for an error, cut where it is long."""
    try:
        text = to_text(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"


def options(kind: type) -> tuple[Option, ...]:
    """The options of a dataclass, in its order; none for other classes."""
    return _cached_options(kind)


@lru_cache(maxsize=64)
def _cached_options(kind: Any) -> tuple[Option, ...]:
    return tuple(_options(kind)) if is_dataclass(kind) else ()


def _options(kind: Any) -> Iterator[Option]:
    hints = get_type_hints(kind)
    for item in fields(kind):
        if "help" in item.metadata:
            (hint, *_) = [each for each in get_args(hints[item.name]) if each is not NoneType] or [hints[item.name]]
            hint = hints[item.name] if get_origin(hints[item.name]) is tuple else hint
            yield Option(name=item.name, kind=get_origin(hint) or hint, default=item.default, **item.metadata)


def check_options(instance: Any, owner: str = "") -> None:
    """Checks all options of a dataclass instance, and converts its numbers to their types.

    Raises:
        SettingError: a value outside its range or choices.
    """
    for each in options(type(instance)):
        value = getattr(instance, each.name)
        checked = each.check(value, owner)
        if checked is not value:
            object.__setattr__(instance, each.name, checked)


@dataclass(frozen=True)
class Settings:
    """The base of dataclasses of options.

    Raises:
        SettingError: a value outside its range or choices.
    """

    def __post_init__(self) -> None:
        check_options(self)

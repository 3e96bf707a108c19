"""Degradations as text: "blur(1.5) + noise(0.1) + jpeg(10)"."""

from __future__ import annotations

import re
from typing import Any

from ..defaults import own_defaults
from ..errors import SettingError
from ..limits import check_length, shortened
from ..settings import Option
from .base import Degradation
from .chain import Chain

MAX_TEXT, MAX_PARTS = 8192, 64  # characters, with room for the path of a mask; degradations
_PART = re.compile(r"([a-z_]+)\s*(?:\((.*)\))?", re.DOTALL)


@own_defaults
def parse_degradation(text: str) -> Degradation:
    """Parses "name(number, ...) + name(...) ...", in the order in which the degradations happened.

    `help_text` lists the names and their options. Returns a `Chain` for more than one.

    Raises:
        SettingError: an unknown name, a wrong number of arguments, one out of range, or a text that is too long.
        ImageError: the file of a mask cannot be read.
    """
    check_length(text, MAX_TEXT, "The degradation", f"write one or more of {forms()}, joined by +.")
    words = _split(text)
    if len(words) > MAX_PARTS:
        raise SettingError(f"The degradation has {len(words)} parts.", f"up to {MAX_PARTS}.", "leave some out.")
    parts = [_part(part.strip(), text) for part in words]
    return parts[0] if len(parts) == 1 else Chain(parts)


def forms() -> str:
    """The form of each degradation, separated by commas."""
    return ", ".join(map(_signature, _kinds()))


def help_text() -> str:
    """A line for each degradation: its form, what it does, its options with range, unit and default."""
    written = {_signature(kind): kind for kind in _kinds()}
    width = max(map(len, written))
    return "\n".join(f"{form:{width}}  {_described(kind)}" for form, kind in written.items())


def _kinds() -> tuple[type[Degradation], ...]:
    from . import DEGRADATIONS  # late: the package imports this file

    return DEGRADATIONS


def _split(text: str) -> list[str]:
    """Splits at each "+" outside parentheses; paths may contain some."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "+" and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _part(part: str, text: str) -> Degradation:
    """One "name(number, ...)" of the text."""
    match = _PART.fullmatch(part)
    kind = next((kind for kind in _kinds() if match is not None and kind.name == match[1]), None)
    if match is None or kind is None:
        raise SettingError(
            f"The degradation {shortened(text)} has the part {shortened(part)}.",
            f"one or more of {forms()}, joined by +.",
            "check the spelling, and write name(number, ...).",
        )
    inside = (match[2] or "").strip()
    is_file = any(each.file for each in kind.options())  # its path may contain commas
    words = [inside] if is_file else [word.strip() for word in inside.split(",")]
    return kind.from_options(**_values(kind, words if inside else [], part))


def _values(kind: type[Degradation], words: list[str], part: str) -> dict[str, Any]:
    """The value of each option, from the words or its default."""
    wanted = kind.options()
    if not sum(each.is_required for each in wanted) <= len(words) <= len(wanted):
        raise SettingError(
            f"{shortened(part)} has {len(words)} argument{'' if len(words) == 1 else 's'}.",
            f"{_signature(kind)}: {_described(kind)}.",
            f"write {_signature(kind)}.",
        )
    values: dict[str, Any] = {}
    for index, each in enumerate(wanted):
        default = each.default if each.same_as is None else values[each.same_as]
        values[each.name] = each.check(each.parse(words[index]), kind.name) if index < len(words) else default
    return values


def _signature(kind: type[Degradation]) -> str:
    """As in motion(length, angle) or grey."""
    names = ", ".join(each.label for each in kind.options())
    return f"{kind.name}({names})" if names else kind.name


def _described(kind: type[Degradation]) -> str:
    return "; ".join([kind.help, *map(_explained, kind.options())])


def _explained(each: Option) -> str:
    default = "" if each.is_required else f", default {each.same_as or each.default}"
    return f"{each.label}: {each.help}, {each.range}{default}"

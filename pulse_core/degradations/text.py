"""Degradations as text: "blur(1.5) + noise(0.1) + jpeg(10)"."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import SettingError
from .base import Argument, Degradation
from .chain import Chain

_PART = re.compile(r"([a-z_]+)\s*(?:\((.*)\))?", re.DOTALL)


def parse_degradation(text: str) -> Degradation:
    """Reads "name(number, ...) + name(...) ...", in the order in which it happened to the picture.

    The kinds and their arguments are those of `help_text`. Returns a `Chain` where there are several.

    Raises:
        SettingError: an unknown name, a wrong number of arguments, or one out of its range.
        ImageError: the file of a mask cannot be read.
    """
    parts = [_part(part.strip(), text) for part in _split(text)]
    return parts[0] if len(parts) == 1 else Chain(parts)


def forms() -> str:
    """How each kind is written, separated by commas."""
    return ", ".join(map(_signature, _kinds()))


def help_text() -> str:
    """A line for each kind: how it is written, what it does, its arguments with range, unit and default."""
    written = {_signature(kind): kind for kind in _kinds()}
    width = max(map(len, written))
    return "\n".join(f"{form:{width}}  {_described(kind)}" for form, kind in written.items())


def _kinds() -> tuple[type[Degradation], ...]:
    from . import DEGRADATIONS  # there once the package is imported, of which this file is a part

    return DEGRADATIONS


def _split(text: str) -> list[str]:
    """At each "+" outside of parentheses: the paths of files may hold some."""
    parts, depth = [""], 0
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "+" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _part(part: str, text: str) -> Degradation:
    """One "name(number, ...)" of the text."""
    match = _PART.fullmatch(part)
    kind = next((kind for kind in _kinds() if match is not None and kind.name == match[1]), None)
    if match is None or kind is None:
        raise SettingError(
            f"The degradation {text!r} has the part {part!r}.",
            f"one or more of {forms()}, joined by +.",
            "check the spelling, and write name(number, ...).",
        )
    inside = (match[2] or "").strip()
    is_file = any(argument.kind is Path for argument in kind.arguments)
    words = [inside] if is_file else [word.strip() for word in inside.split(",")]
    return kind.from_arguments(*_values(kind, words if inside else [], part))


def _values(kind: type[Degradation], words: list[str], part: str) -> list[Any]:
    """A value for each argument, what is left out by its default."""
    needed = sum(argument.default is None for argument in kind.arguments)
    if not needed <= len(words) <= len(kind.arguments):
        raise SettingError(
            f"{part!r} has {len(words)} argument{'' if len(words) == 1 else 's'}.",
            f"{_signature(kind)}: {_described(kind)}.",
            f"write {_signature(kind)}.",
        )
    values: dict[str, Any] = {}
    for index, argument in enumerate(kind.arguments):
        default = values.get(str(argument.default), argument.default)
        values[argument.name] = argument.check(words[index] if index < len(words) else default, kind.name)
    return list(values.values())


def _signature(kind: type[Degradation]) -> str:
    """As in motion(length, angle); without parentheses where there is nothing to say."""
    names = ", ".join(argument.name for argument in kind.arguments)
    return f"{kind.name}({names})" if names else kind.name


def _described(kind: type[Degradation]) -> str:
    return "; ".join([kind.help, *map(_explained, kind.arguments)])


def _explained(argument: Argument) -> str:
    default = "" if argument.default is None else f", default {argument.default}"
    return f"{argument.name}: {argument.help}, {argument.range}{default}"

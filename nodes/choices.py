"""Parses the text of `which` and `captions` widgets."""

from __future__ import annotations

import re

from ..pulse_core.errors import SettingError


def chosen(which: str, count: int, remedy: str) -> list[int]:
    """Parses "all" or numbers from 1 up to indices from 0, in the order of the text, each once.

    Args:
        count: number of items; 0 accepts any number.
        remedy: where the user finds the numbers.

    Raises:
        SettingError: the text has no numbers, or one that is out of range.
    """
    if which.strip().lower() in ("", "all"):
        return list(range(count))
    numbers = list(dict.fromkeys(int(number) for number in re.findall(r"\d+", which)))
    if not numbers or (count and not set(numbers) <= set(range(1, count + 1))):
        raise SettingError(f"which is {which!r}.", f"all, or numbers from 1 to {count}, like 1, 3.", remedy)
    return [number - 1 for number in numbers]


def caption_lines(text: str, count: int) -> list[str]:
    """The lines of a `captions` widget, one for each image; none if the text is blank.

    Blank lines are images without a caption, except at the end: there as many as are missing or too many are added or
    left out.
    """
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        return []
    while len(lines) > count and not lines[-1].strip():
        lines.pop()
    blank = text.endswith(("\n", "\r"))
    return lines + [""] * (count - len(lines)) if blank else lines

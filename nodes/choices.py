"""Parses the text of `which` and `captions` widgets."""

from __future__ import annotations

import re

from ..pulse_core.errors import SettingError
from ..pulse_core.limits import check_length, shortened

_LONGEST, _DIGITS = 1 << 15, 9  # characters of `which`; digits of one number in it
_CAPTION = 4096  # characters, for each image


def chosen(which: str, count: int, remedy: str) -> list[int]:
    """Parses "all" or numbers from 1 up to indices from 0, in the order of the text, each once.

    Args:
        count: number of items; 0 accepts any number.
        remedy: where the user finds the numbers.

    Raises:
        SettingError: the text has no numbers, or one that is out of range.
    """
    check_length(which, _LONGEST, "which", remedy)
    if which.strip().lower() in ("", "all"):
        return list(range(count))
    texts = re.findall(r"[0-9]+", which)
    numbers = list(dict.fromkeys(int(text) for text in texts if len(text) <= _DIGITS))
    known = set(range(1, count + 1)) if count else set(numbers)
    if not numbers or any(len(text) > _DIGITS for text in texts) or not set(numbers) <= known:
        raise SettingError(f"which is {shortened(which)}.", f"all, or numbers from 1 to {count}, like 1, 3.", remedy)
    return [number - 1 for number in numbers]


def caption_lines(text: str, count: int) -> list[str]:
    """The lines of a `captions` widget, one for each image; none if the text is blank.

    Blank lines are images without a caption, except at the end: there as many as are missing or too many are added or
    left out.
    """
    check_length(text, _CAPTION * (count + 1), "captions", "write shorter captions, one line for each image.")
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        return []
    while len(lines) > count and not lines[-1].strip():
        lines.pop()
    blank = text.endswith(("\n", "\r"))
    return lines + [""] * (count - len(lines)) if blank else lines

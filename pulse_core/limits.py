"""Limits of memory and of texts, checked before the work. A limit of memory is derived: the bytes that are wanted."""

from __future__ import annotations

import os

from .errors import SettingError

MAX_BYTES = 8 << 30  # for one call, beyond its inputs; PULSE_MAX_BYTES is another number
FLOAT = 4  # bytes


def max_bytes() -> int:
    """The bytes that one call may use beyond its inputs.

    Raises:
        SettingError: PULSE_MAX_BYTES is not a whole number of bytes.
    """
    given = os.environ.get("PULSE_MAX_BYTES", "")
    if not given:
        return MAX_BYTES
    if not (given.isascii() and given.isdigit() and len(given) < 20):
        raise SettingError(f"PULSE_MAX_BYTES is {shortened(given)}.", "a whole number of bytes.", "correct it.")
    return int(given)


def check_bytes(wanted: int, what: str, remedy: str) -> None:
    """Checks a need for memory before anything is allocated.

    Args:
        what: as in "200 pictures of 1024 pixels a side".

    Raises:
        SettingError: more than `max_bytes`.
    """
    limit = max_bytes()
    if wanted > limit:
        raise SettingError(
            f"{what} would take {wanted / 2**30:.1f} GiB of memory.",
            f"up to {limit / 2**30:.1f} GiB (the environment variable PULSE_MAX_BYTES changes this).",
            remedy,
        )


def check_length(text: str, most: int, what: str, remedy: str) -> None:
    """Checks the length of a text before it is parsed.

    Raises:
        SettingError: more than `most` characters.
    """
    if len(text) > most:
        raise SettingError(f"{what} has {len(text):,} characters.", f"up to {most:,}.", remedy)


def shortened(text: str, most: int = 80) -> str:
    """The text in quotes, cut to about so many characters, for an error."""
    return repr(text) if len(text) <= most else f"{text[: most - 20]!r}... ({len(text):,} characters)"

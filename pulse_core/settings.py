"""Settings that describe themselves: what each does, its unit and its range.

The command line, the nodes and their help read these fields, so that each is described once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import SettingError


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field that carries its own description; low and high are inclusive."""
    return field(default=default, metadata={"help": help, "unit": unit, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class Settings:
    """The base of dataclasses whose fields are `option`s.

    Raises:
        SettingError: a value outside its range or choices.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item.name, getattr(self, item.name), item.metadata)


def _check(name: str, value: Any, meta: Any) -> None:
    low, high, choices = meta["low"], meta["high"], meta["choices"]
    if choices is not None and value not in choices:
        raise SettingError(f"{name} is {value!r}.", f"one of {', '.join(choices)}.", "choose one of these.")
    if low is not None and not (math.isfinite(value) and low <= value <= high):
        unit = f" ({meta['unit']})" if meta["unit"] else ""
        raise SettingError(f"{name} is {value}.", f"{low} to {high}{unit}.", f"set {name} inside this range.")

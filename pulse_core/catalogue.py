"""The checkpoints and fits that the pack knows by name: `weights/catalogue.json` and what lies beside it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import CheckpointError

DEFAULT_GENERATOR = "ffhq-mobile"
_PACK_WEIGHTS = Path(__file__).resolve().parent.parent / "weights"


@dataclass(frozen=True)
class Entry:
    """A known checkpoint.

    `source` says where its tensors come from and how they are verified (see fetch.py); `license` and
    `lineage` are shown whenever it is fetched.
    """

    name: str
    file: str
    title: str
    family: str
    resolution: tuple[int, int]
    content_hash: str
    license: str
    lineage: str
    source: dict[str, Any]


def weights_dir() -> Path:
    """Where fetched checkpoints go: the pack's own weights/, or PULSE_WEIGHTS if that is set."""
    return Path(os.environ.get("PULSE_WEIGHTS") or _PACK_WEIGHTS)


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """All known checkpoints, in the order of the catalogue."""
    rows = json.loads((_PACK_WEIGHTS / "catalogue.json").read_text(encoding="utf-8"))["checkpoints"]
    return tuple(Entry(**{**row, "resolution": tuple(row["resolution"])}) for row in rows)


def entry(name: str) -> Entry:
    """The known checkpoint of this name.

    Raises:
        CheckpointError: unknown; the message lists the names.
    """
    for row in entries():
        if row.name == name:
            return row
    names = ", ".join(row.name for row in entries())
    raise CheckpointError(
        f"No checkpoint is called {name!r}.", f"one of {names}.", "choose one of these, or give the path of a file."
    )


def entry_of_file(name: str) -> Entry | None:
    """The known checkpoint whose file has this name."""
    return next((row for row in entries() if row.file == name), None)


def locate(source: Path | str) -> Path:
    """A catalogue name or a path -> the path of the file.

    Raises:
        CheckpointError: a known name that was not fetched yet (with the command that does), or no such file.
    """
    for row in entries():
        if str(source) == row.name:
            path = weights_dir() / row.file
            if not path.is_file():
                raise CheckpointError(
                    f"The generator {row.name!r} is known but not on this machine ({path} is missing).",
                    "a fetched checkpoint.",
                    f"run: python -m pulse_core fetch {row.name}",
                )
            return path
    path = Path(source)
    if not path.exists():
        names = ", ".join(row.name for row in entries())
        raise CheckpointError(
            f"There is no file {str(source)!r}, and no known generator of that name.",
            f"the path of a checkpoint, or one of {names}.",
            "check the spelling.",
        )
    return path


def shipped_fit(content_hash: str) -> Path | None:
    """The Gaussian fit that ships with the pack for this generator, if there is one."""
    path = _PACK_WEIGHTS / "gaussian" / f"{content_hash[:16]}.gaussian.safetensors"
    return path if path.is_file() else None

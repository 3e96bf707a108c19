"""The checkpoints and fits that the pack knows by name: `weights/catalogue.json` and what lies beside it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

DEFAULT_GENERATOR = "ffhq-mobile"
_PACK_WEIGHTS = Path(__file__).resolve().parents[2] / "weights"


@dataclass(frozen=True)
class Entry:
    """A known checkpoint.

    resolution: (width, height) in pixels. bytes, sha256: of the file as its publisher gives it out, where known;
    checksum: "confirmed" by several sources, or "reported" by one copy. content_hash: of its tensors.
    ask: the page of its publisher. address: where the publisher serves the file itself, without a browser or an
    account; None if nowhere. source: of a wheel that this pack reads (fetch.py); None for others. `license` and
    `lineage` are shown whenever a checkpoint is fetched or looked up.
    """

    name: str
    file: str
    title: str
    family: str
    resolution: tuple[int, int]
    format: str
    license: str
    ask: str
    bytes: int | None = None
    sha256: str | None = None
    checksum: str | None = None
    content_hash: str | None = None
    lineage: str | None = None
    source: dict[str, Any] | None = None
    address: str | None = None


def weights_dir() -> Path:
    """The folder of fetched checkpoints: the pack's weights/, or PULSE_WEIGHTS if that is set."""
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
    """The known checkpoint whose file has this name; others may have the same, so it is only a guess."""
    return next((row for row in entries() if row.file == name), None)


def fetchable() -> tuple[Entry, ...]:
    """Those in a wheel that `fetch` reads. Nodes offer them among the generators."""
    return tuple(row for row in entries() if row.source is not None)


def downloadable() -> tuple[Entry, ...]:
    """All that `fetch` downloads: those, and the ones at plain addresses of their publishers."""
    return tuple(row for row in entries() if row.source is not None or row.address is not None)


def recognised(sha256: str | None, content_hash: str) -> Entry | None:
    """The known checkpoint with this checksum of its file or of its tensors."""
    for row in entries():
        if content_hash == row.content_hash or (sha256 is not None and sha256 == row.sha256):
            return row
    return None


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
                    "a checkpoint that is there.",
                    how_to_get(row),
                )
            return path
    path = Path(source)
    if not path.exists():
        names = ", ".join(row.name for row in fetchable())
        raise CheckpointError(
            f"There is no file {str(source)!r}, and no known generator of that name.",
            f"the path of a checkpoint, or one of {names}.",
            "check the spelling.",
        )
    return path


def how_to_get(row: Entry) -> str:
    """What to do to have a known checkpoint."""
    if row.source is not None or row.address is not None:
        return f"run: python -m pulse_core fetch {row.name}"
    return f"ask its publisher for {row.file} ({row.ask}; licence: {row.license}) and give its path."


def shipped_fit(content_hash: str) -> Path | None:
    """The Gaussian fit that ships with the pack for this generator, if there is one; its encoder lies beside it."""
    path = _PACK_WEIGHTS / "gaussian" / f"{content_hash[:16]}.gaussian.safetensors"
    return path if path.is_file() else None

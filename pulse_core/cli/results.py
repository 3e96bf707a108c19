"""Where a command writes its results, and what it reports about them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ..degradations import Degradation
from ..errors import SettingError
from ..files import read_regular_file, whole_file
from ..generators import Generator
from ..latent_search.config import SearchConfig
from ..latent_search.solution import Solution
from ..pictures.images import NOTICE, read_metadata
from ..pipeline import Target
from .fleet import Item

_MAX_NAME = 255  # bytes, on most file systems
_MAX_REPORT = 2**30  # bytes

Files = Callable[[Path], "list[Path]"]


def results_of(pictures: list[Path], folder: Path, files: Files, report: Path | None = None) -> list[Item]:
    """The path of the result for each picture, after a check of all that will be written.

    Args:
        files: all files of a result, itself included, from its path.
        report: the path of the report.

    Raises:
        SettingError: two files would have the same path, or one would overwrite an input; the folder or the report
            cannot be written.
    """
    _check_folder(folder, "-o")
    if report is not None:
        if report.is_dir():
            raise SettingError(f"The report {report} is a folder.", "the path of a file.", "add a name to --report.")
        _check_folder(report.parent, "--report")
    items = [Item(picture, folder / f"{picture.stem}.png") for picture in pictures]
    taken = {os.path.realpath(picture) for picture in pictures}
    taken |= {os.path.realpath(report)} if report is not None else set()
    for item in items:
        for path in files(item.result):
            real = os.path.realpath(path)
            if real in taken:
                raise SettingError(
                    f"A result of {item.source} would be written to {path}, the path of another result or an input, "
                    "or of the report.",
                    "inputs with different names, and a separate folder for the results.",
                    "rename an input or choose another folder with -o.",
                )
            taken.add(real)
    return items


def unwritable(item: Item, files: Files) -> str:
    """Why the files of one result cannot be written, before anything is searched for; empty if they can."""
    for path in files(item.result):
        if len(os.fsencode(path.name)) > _name_limit(path.parent):
            return f"The name of its result {path.name} is too long. What to do: rename the picture."
        if os.path.isdir(path):
            return f"{path}, where its result belongs, is a folder. What to do: choose another folder with -o."
    return ""


def _name_limit(folder: Path) -> int:
    try:
        return os.pathconf(folder if folder.is_dir() else "/", "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows, and file systems that do not say
        return _MAX_NAME


def _check_folder(folder: Path, option: str) -> None:
    """Checks that files can be written into a folder, which need not exist yet."""
    existing = Path(os.path.abspath(folder))
    while not os.path.lexists(existing):
        existing = existing.parent
    reason = "" if os.path.isdir(existing) else f"{existing} is not a folder"
    if not reason:
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            reason = f"{existing}: {error.strerror}"
    if reason:
        raise SettingError(
            f"The folder {folder} of {option} cannot be written ({reason}).",
            "a folder that you may write into, or one that can be made.",
            f"choose another one with {option}.",
        )


def side_by_side_of(result: Path) -> Path:
    """The path of the picture that shows input and result side by side."""
    return result.with_stem(f"{result.stem}_side_by_side")


def is_current(path: Path, recipe: str) -> bool:
    """Whether a PNG file is whole and was made by this recipe."""
    return (read_metadata(path) or {}).get("recipe") == recipe


def result_metadata(
    target: Target, solution: Solution, config: SearchConfig, generator: Generator, seconds: float
) -> dict[str, Any]:
    """What the report and the PNG file say about a result."""
    return {
        **target.metadata,
        **solution.metadata(config.eps),
        "best_step": solution.best_step,
        "seconds": round(seconds, 3),
        **generator.identity,
        "settings": asdict(config),
    }


def digest(*parts: Any) -> str:
    """The SHA-256 of plain data, as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest_of_tensors(tensors: Iterable[Tensor]) -> str:
    """The SHA-256 of the values and shapes of tensors."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(f"{tensor.dtype}{list(tensor.shape)}".encode() + tensor.detach().cpu().numpy().tobytes())
    return total.hexdigest()


def digest_of_degradation(degradation: Degradation | None) -> str:
    """The SHA-256 of a degradation, with what it read from files (a mask)."""
    parts = getattr(degradation, "parts", (degradation,) if degradation is not None else ())
    values = [getattr(part, each.name) for part in parts for each in part.options()]
    return digest(
        "" if degradation is None else str(degradation),
        [digest_of_tensors([value]) if isinstance(value, Tensor) else repr(value) for value in values],
    )


def verdict(row: dict[str, Any]) -> str:
    """One line on how a search ended."""
    return f"{row['summary']}, seed {row['seed']}, {row['seconds']:.1f} s"


def write_report(
    path: Path | None, key: str, rows: list[dict[str, Any]], *, left: Collection[Path] = frozenset()
) -> None:
    """Writes a JSON file with the notice, and the rows under `key`; nothing without a path or without rows.

    Args:
        left: inputs that a stopped run did not reach. What an earlier report says about them stays.
    """
    if path is None:
        return
    names = {str(each) for each in left}
    rows = rows + [row for row in (_earlier(path, key) if names else []) if row.get("input") in names]
    if not rows:
        return
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"notice": NOTICE, key: rows}, indent=2) + "\n", encoding="utf-8")


def _earlier(path: Path, key: str) -> list[dict[str, Any]]:
    """The rows of an earlier report; none if there is none, or another kind of file."""
    try:
        report = json.loads(read_regular_file(path, _MAX_REPORT))
    except (OSError, ValueError, RecursionError):
        return []
    rows = report.get(key) if isinstance(report, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

"""Finds the pictures that a command is given."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..errors import ImageError, SettingError
from ..files import is_partial
from ..pictures.reading import HEIC_REMEDY, suffixes

_HEIC = (".heic", ".heif", ".hif")


def find_pictures(inputs: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """The pictures for a list of files, folders and globs (which the shell may not have expanded).

    Everything in a folder whose name ends as a picture's counts, whatever it turns out to be when it is opened.

    Returns: the files, and for each folder a line on what is left out.

    Raises:
        SettingError: a folder or glob has no pictures, or cannot be read.
        ImageError: a file does not exist.
    """
    found: list[Path] = []
    told: list[str] = []
    for path in inputs:
        if os.path.isdir(path):
            what, (inside, left_out) = "folder", _in_folder(path)
            told += [f"{path}: {left_out}"] if left_out else []
        elif os.path.lexists(path):
            what, inside = "file", [path]
        elif glob.has_magic(str(path)):
            matches = map(Path, sorted(glob.glob(str(path), recursive=True)))
            what, inside = "glob", [each for each in matches if not is_partial(each) and not _is_mere_folder(each)]
        else:
            raise ImageError(f"{path} does not exist.", "the path of a picture file.", "check the path.")
        if not inside:
            endings = ", ".join(sorted(suffixes()))
            raise SettingError(f"The {what} {path} holds no pictures.", endings, "name another one.")
        found += inside
    return found, told


def _is_mere_folder(path: Path) -> bool:
    """Not one that is named as a picture, which is worth a word."""
    return os.path.isdir(path) and path.suffix.lower() not in suffixes()


def _in_folder(folder: Path) -> tuple[list[Path], str]:
    """The pictures in a folder, and what is left out."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise SettingError(
            f"The folder {folder} cannot be read ({error.strerror}).", "a folder of pictures.", "check who may read it."
        ) from error
    inside, others = [], Counter[str]()
    for path in map(folder.joinpath, names):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            others["hidden"] += not is_partial(path)
        elif suffix in suffixes():
            inside.append(path)
        else:
            others["folder" if os.path.isdir(path) else suffix or "without ending"] += 1
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()) if count)
    remedy = f" HEIC: {HEIC_REMEDY}" if any(others[kind] for kind in _HEIC) else ""
    return inside, f"left out: {counted}.{remedy}" if counted else ""

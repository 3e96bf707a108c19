"""Finds the pictures that a command is given."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from ..errors import ImageError, SettingError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def find_pictures(inputs: Iterable[Path]) -> list[Path]:
    """The picture files for a list of files, folders and globs (which the shell may not have expanded).

    Raises:
        SettingError: a folder or glob has no pictures.
        ImageError: a file does not exist.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in PICTURES)
        elif not path.exists() and glob.has_magic(str(path)):
            inside = [Path(each) for each in sorted(glob.glob(str(path), recursive=True)) if Path(each).is_file()]
        elif not path.exists():
            raise ImageError(f"{path} does not exist.", "the path of a picture file.", "check the path.")
        else:
            inside = [path]
        if not inside:
            what = "The folder" if path.is_dir() else "The glob"
            raise SettingError(f"{what} {path} holds no pictures.", ", ".join(PICTURES), "name another one.")
        found += inside
    return found

"""The pictures that a command is given."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from ..errors import ImageError, SettingError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def find_pictures(inputs: Iterable[Path]) -> list[Path]:
    """Files as given, folders as the pictures in them, globs (where the shell left them) as what they match.

    Raises:
        SettingError: a folder or a glob without pictures.
        ImageError: a file that does not exist; told before any work.
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

"""Sheets of pictures: a row a target, a column a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pulse_core.degradations.bicubic import downsample
from pulse_core.files import whole_file
from pulse_core.pictures.images import read_image, to_pil

from .measure import Case
from .rows import BICUBIC, EARLIER_EXACT, MAIN
from .targets import KEPT_APART, PORTRAIT, SPOILED, Target, observe

SIDE, FULL, LINE = 256, 1024, 22
A_SHEET = 8  # portraits
FACES = 4  # other targets in a sheet
QUALITY = 80  # of the JPEG files that are committed
OF_PORTRAITS = ("published", EARLIER_EXACT, "recommended")
OF_FACES = (BICUBIC, *MAIN)
NEEDED = ("recommended",)  # the others' places stay grey where there is no picture


def write_sheets(folder: Path, pictures: Path, targets: Sequence[Target], sizes: Sequence[int]) -> None:
    """Portraits at each size (portraits_32_1.jpg, ...), the other targets (faces_1.jpg, ...) and spoiled.jpg.

    A sheet of which a target was not searched for is left as it is.
    """
    portraits = [target for target in targets if target.kind in (PORTRAIT, KEPT_APART)]
    others = [target for target in targets if target not in portraits]
    for lr in sizes:
        for number, some in enumerate(_parts(portraits, A_SHEET), 1):
            rows = [_row(target, "clean", lr, pictures, OF_PORTRAITS, SIDE) for target in some]
            _write(folder / f"portraits_{lr}_{number}.jpg", rows, OF_PORTRAITS, SIDE)
    for number, some in enumerate(_parts(others, FACES), 1):
        rows = [_row(target, "clean", sizes[0], pictures, OF_FACES, SIDE) for target in some]
        _write(folder / f"faces_{number}.jpg", rows, OF_FACES, SIDE)
    for target in portraits:  # the first one that was searched for through all of them
        rows = [_row(target, spoiling, sizes[0], pictures, OF_FACES, SIDE) for spoiling in SPOILED]
        _write(folder / "spoiled.jpg", rows, OF_FACES, SIDE)


def write_full(folder: Path, pictures: Path, targets: Sequence[Target], sizes: Sequence[int]) -> None:
    """Every target that was searched for, at each size, as one row of pictures of 1024 pixels: p01_32.jpg, ..."""
    for target in targets:
        for lr in sizes:
            rows = [_row(target, "clean", lr, pictures, OF_PORTRAITS, FULL)]
            _write(folder / f"{target.name}_{lr}.jpg", rows, OF_PORTRAITS, FULL, quality=92)


def resized(image: Tensor, side: int) -> Tensor:
    """A square picture [3, S, S] in 0..1 with another side."""
    if image.shape[-1] >= side:
        return downsample(image, size=(side, side)).clamp(0, 1)
    return F.interpolate(image[None], (side, side), mode="bicubic").clamp(0, 1)[0]


def titled(columns: Sequence[Tensor], titles: Sequence[str]) -> Image.Image:
    """Pictures [3, H, W] side by side, a line with their titles above them."""
    body = torch.cat(list(columns), 2)
    sheet = to_pil(torch.cat([torch.ones(3, LINE, body.shape[2]), body], 1))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    left = 0
    for column, title in zip(columns, titles, strict=True):
        pen.text((left + 4, 2), title, fill="black", font=font)
        left += column.shape[2]
    return sheet


def save_jpeg(sheet: Image.Image, path: Path, quality: int) -> None:
    """Whole or not at all; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        sheet.save(file, format="JPEG", quality=quality)


def _parts(targets: Sequence[Target], count: int) -> list[Sequence[Target]]:
    return [targets[first : first + count] for first in range(0, len(targets), count)]


def _row(
    target: Target, spoiling: str, lr: int, pictures: Path, columns: Sequence[str], side: int
) -> list[Tensor] | None:
    """Input, columns and truth; None where one that is needed was not made."""
    files = {row: pictures / f"{Case(target.name, lr, spoiling, row, 0).key}.png" for row in columns}
    if not all(files[row].is_file() for row in NEEDED):
        return None
    given = F.interpolate(observe(target, spoiling, lr)[0], (side, side), mode="nearest-exact")[0]
    none = torch.full((3, side, side), 0.5)
    made = [resized(read_image(file), side) if file.is_file() else none for file in files.values()]
    return [given, *made, resized(target.truth, side)]


def _write(
    path: Path, rows: list[list[Tensor] | None], columns: Sequence[str], side: int, quality: int = QUALITY
) -> None:
    """Nothing where a row is missing."""
    there = [row for row in rows if row is not None]
    if not there or len(there) < len(rows):
        return
    stacked = [torch.cat(column, 1) for column in zip(*there, strict=True)]
    save_jpeg(titled(stacked, ("input", *columns, "truth")), path, quality)

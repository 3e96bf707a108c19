"""Sheets of pictures: a row per target, a column per search."""

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
from .targets import HELD_OUT_PORTRAIT, INPUT_DEGRADATIONS, PORTRAIT, Target, degraded_and_clean

SIDE, FULL, LINE = 256, 1024, 22
A_SHEET = 8  # portraits
FACES = 4  # other targets in a sheet
QUALITY = 80  # of the JPEG files that are committed
OF_PORTRAITS = ("published", EARLIER_EXACT, "recommended")
OF_FACES = (BICUBIC, *MAIN)
NEEDED = ("recommended",)  # a missing picture of another row is grey; a row without any is left out


def write_sheets(folder: Path, pictures: Path, targets: Sequence[Target], sizes: Sequence[int]) -> None:
    """Portraits at each size (portraits_32_1.jpg, ...), the other targets (faces_1.jpg, ...) and degraded.jpg.

    A sheet with a target that has no result is not written.
    """
    portraits = [target for target in targets if target.kind in (PORTRAIT, HELD_OUT_PORTRAIT)]
    others = [target for target in targets if target not in portraits]
    for lr in sizes:
        columns = _there(portraits, lr, pictures, OF_PORTRAITS)
        for number, some in enumerate(_parts(portraits, A_SHEET), 1):
            rows = [_row(target, "clean", lr, pictures, columns, SIDE) for target in some]
            write_sheet(folder / f"portraits_{lr}_{number}.jpg", rows, columns, SIDE)
    columns = _there(others, sizes[0], pictures, OF_FACES)
    for number, some in enumerate(_parts(others, FACES), 1):
        rows = [_row(target, "clean", sizes[0], pictures, columns, SIDE) for target in some]
        write_sheet(folder / f"faces_{number}.jpg", rows, columns, SIDE)
    for target in portraits:  # the first one with results for all degradations
        rows = [_row(target, spoiling, sizes[0], pictures, OF_FACES, SIDE) for spoiling in INPUT_DEGRADATIONS]
        if None not in rows:
            write_sheet(folder / "degraded.jpg", rows, OF_FACES, SIDE)
            break


def write_full(folder: Path, pictures: Path, targets: Sequence[Target], sizes: Sequence[int]) -> None:
    """For each target and size a row of pictures of 1024 pixels: p01_32.jpg, ..."""
    for target in targets:
        for lr in sizes:
            rows = [_row(target, "clean", lr, pictures, OF_PORTRAITS, FULL)]
            write_sheet(folder / f"{target.name}_{lr}.jpg", rows, OF_PORTRAITS, FULL, quality=92)


def resized(image: Tensor, side: int) -> Tensor:
    """Resizes a square picture [3, S, S] in 0..1."""
    if image.shape[-1] >= side:
        return downsample(image, size=(side, side)).clamp(0, 1)
    return F.interpolate(image[None], (side, side), mode="bicubic").clamp(0, 1)[0]


def titled(columns: Sequence[Tensor], titles: Sequence[str]) -> Image.Image:
    """Pictures [3, H, W] side by side, with their titles above."""
    body = torch.cat(list(columns), 2)
    sheet = to_pil(torch.cat([torch.ones(3, LINE, body.shape[2]), body], 1))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    left = 0
    for column, title in zip(columns, titles, strict=True):
        pen.text((left + 4, 2), title, fill="black", font=font)
        left += column.shape[2]
    return sheet


def save_jpeg(sheet: Image.Image, path: Path, quality: int) -> None:
    """Writes the file completely or not at all; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        sheet.save(file, format="JPEG", quality=quality)


def _parts(targets: Sequence[Target], count: int) -> list[Sequence[Target]]:
    return [targets[first : first + count] for first in range(0, len(targets), count)]


def _there(targets: Sequence[Target], lr: int, pictures: Path, columns: Sequence[str]) -> list[str]:
    """The columns that have a picture of any target."""
    return [row for row in columns if any(_file(target, "clean", lr, row, pictures).is_file() for target in targets)]


def _file(target: Target, spoiling: str, lr: int, row: str, pictures: Path) -> Path:
    return pictures / f"{Case(target.name, lr, spoiling, row, 0).key}.png"


def _row(
    target: Target, spoiling: str, lr: int, pictures: Path, columns: Sequence[str], side: int
) -> list[Tensor] | None:
    """Input, columns and truth; None if a picture of NEEDED is missing."""
    files = {row: _file(target, spoiling, lr, row, pictures) for row in (*columns, *NEEDED)}
    if not all(files[row].is_file() for row in NEEDED):
        return None
    degraded = F.interpolate(degraded_and_clean(target, spoiling, lr)[0], (side, side), mode="nearest-exact")[0]
    none = torch.full((3, side, side), 0.5)
    made = [resized(read_image(files[row]), side) if files[row].is_file() else none for row in columns]
    return [degraded, *made, resized(target.truth, side)]


def write_sheet(
    path: Path, rows: list[list[Tensor] | None], columns: Sequence[str], side: int, quality: int = QUALITY
) -> None:
    """Writes rows of input, columns and truth, [3, side, side] each, unless a row is missing."""
    there = [row for row in rows if row is not None]
    if not there or len(there) < len(rows):
        return
    stacked = [torch.cat(column, 1) for column in zip(*there, strict=True)]
    save_jpeg(titled(stacked, ("input", *columns, "truth")), path, quality)

"""Sheets of pictures: a row a target, a column a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import ImageDraw, ImageFont
from torch import Tensor

from pulse_core.degradations.bicubic import downsample
from pulse_core.files import whole_file
from pulse_core.images import read_image, to_pil

from .measure import Case
from .rows import BICUBIC, MAIN
from .targets import SPOILED, Target, observe

SIDE, LINE = 200, 18
A_SHEET = 4  # targets
COLUMNS = ("input", BICUBIC, *MAIN, "truth")


def write_sheets(folder: Path, pictures: Path, targets: Sequence[Target], lr: int = 32) -> None:
    """faces_1.jpg, faces_2.jpg, ... of the clean searches, and spoiled.jpg of the first target's spoiled ones."""
    for number in range(0, len(targets), A_SHEET):
        rows = [_row(target, "clean", lr, pictures) for target in targets[number : number + A_SHEET]]
        _write(folder / f"faces_{number // A_SHEET + 1}.jpg", rows)
    spoiled = [_row(targets[0], spoiling, lr, pictures) for spoiling in SPOILED]
    _write(folder / "spoiled.jpg", spoiled)


def _row(target: Target, spoiling: str, lr: int, pictures: Path) -> list[Tensor] | None:
    """The columns' pictures; None where one of them was not made."""
    files = [pictures / f"{Case(target.name, lr, spoiling, row, 0).key}.png" for row in (BICUBIC, *MAIN)]
    if not all(file.is_file() for file in files):
        return None
    given = F.interpolate(observe(target, spoiling, lr)[0], (SIDE, SIDE), mode="nearest-exact")[0]
    return [given, *(_small(read_image(file)) for file in files), _small(target.truth)]


def _small(image: Tensor) -> Tensor:
    return downsample(image, size=(SIDE, SIDE)).clamp(0, 1)


def _write(path: Path, rows: list[list[Tensor] | None]) -> None:
    """Nothing where a row is missing."""
    whole = [torch.cat(row, 2) for row in rows if row is not None]
    if len(whole) < len(rows):
        return
    body = torch.cat(whole, 1)
    sheet = to_pil(torch.cat([torch.ones(3, LINE, body.shape[2]), body], 1))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for column, title in enumerate(COLUMNS):
        draw.text((column * SIDE + 4, 1), title, fill="black", font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        sheet.save(file, format="JPEG", quality=88)

"""Contact sheets, pictures side by side, and comparisons of a result with its input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..errors import SettingError
from ..interrupts import each
from ..limits import FLOAT, check_bytes
from .images import NOTICE, to_pil
from .text import Pen, missing_characters

_MARGIN, _BAND = 16, 40
_LINE = 1.4  # height of a line of text, in font sizes
_MOST_LINES = 8  # of a caption; more are left out
_MOST_NAMED = 3  # characters without a font
_PIXEL = 3 + 4 * 3 * FLOAT  # bytes of a sheet: the picture, and what its conversion to a tensor takes
_SMALLER = "use a smaller side, or fewer or less elongated pictures."


def side_by_side(panels: Mapping[str, Tensor], side: int = 512) -> Image.Image:
    """Pictures in a row, each resized to a height of `side` pixels, with captions and the notice.

    Raises:
        SettingError: it would take too much memory.
    """
    font, small = ImageFont.load_default(20), ImageFont.load_default(15)
    width, height = row_size([(image.shape[-2], image.shape[-1]) for image in panels.values()], side)
    check_bytes(2 * width * height * _PIXEL, f"A sheet of {width}x{height} pixels", _SMALLER)  # 2: the parts as well
    pictures = [_resize_to_height(to_pil(image), side) for image in each(panels.values())]
    sheet = Image.new("RGB", (width, height), "white")
    draw, left = ImageDraw.Draw(sheet), _MARGIN
    for caption, picture in zip(panels, pictures, strict=True):
        sheet.paste(picture, (left, _BAND))
        draw.text((left, 10), caption, fill="black", font=font)
        left += picture.width + _MARGIN
    draw.text((_MARGIN, _BAND + side + 11), NOTICE, fill="black", font=small)
    return sheet


def row_size(sizes: Sequence[tuple[int, int]], side: int) -> tuple[int, int]:
    """(width, height) of `side_by_side` for pictures of these (height, width)."""
    width = _MARGIN + sum(_width_at(side, *size) + _MARGIN for size in sizes)
    return max(width, round(ImageFont.load_default(15).getlength(NOTICE)) + 2 * _MARGIN), _BAND + side + _BAND


def _width_at(to: int, height: int, width: int) -> int:
    """The width of a picture that is resized to the height `to`."""
    return max(1, round(width * to / height))


def _resize_to_height(picture: Image.Image, height: int) -> Image.Image:
    """Resizes to this height; enlarges with square pixels, so that those of a small input are visible."""
    how = Image.Resampling.LANCZOS if picture.height > height else Image.Resampling.NEAREST
    return picture.resize((_width_at(height, picture.height, picture.width), height), how)


def contact_sheet(images: Sequence[Tensor], captions: Sequence[str], columns: int = 0, side: int = 256) -> Image.Image:
    """A grid of pictures with captions, and the notice below.

    Args:
        images: [3, H, W] in 0..1 each, of any sizes; each is fitted into a square of `side` pixels.
        captions: one each, in any script that a font of this machine has; long lines and many lines are truncated.
        columns: 0 makes the grid about square.

    Raises:
        SettingError: no images, another number of captions, or a sheet that would take too much memory.
    """
    if not images or len(captions) != len(images):
        raise SettingError(
            f"{len(captions)} captions were given for {len(images)} images.",
            "at least one image, and one caption for each.",
            "give one line per image.",
        )
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    size = max(10, min(20, side // 16))
    pen = Pen(size)
    texts = [_lines(caption, pen, side) for caption in each(captions)]
    line = round(size * _LINE)
    cell = side + line * max(1, *map(len, texts)) + _MARGIN
    width = max(columns * (side + _MARGIN) + _MARGIN, round(pen.width(NOTICE)) + 2 * _MARGIN)
    rows, below = math.ceil(len(images) / columns), [*_missing(texts), NOTICE]
    height = _MARGIN + rows * cell + (1 + len(below)) * line
    what = f"A sheet of {width}x{height} pixels for {len(images)} pictures of {side} a side"
    check_bytes(width * height * _PIXEL, what, _SMALLER)
    sheet = Image.new("RGB", (width, height), "white")
    for number, (image, lines) in enumerate(zip(each(images), texts, strict=True)):
        left, top = _MARGIN + number % columns * (side + _MARGIN), _MARGIN + number // columns * cell
        picture = _fit_square(to_pil(image), side)
        sheet.paste(picture, (left + (side - picture.width) // 2, top + side - picture.height))
        for row, text in enumerate(lines):
            pen.write(sheet, (left, top + side + row * line + 2), text)
    for row, text in enumerate(below):
        top = height - (1 + len(below) - row) * line + line // 4
        pen.write(sheet, (_MARGIN, top), _truncate(text, pen, width - 2 * _MARGIN))
    return sheet


def comparison(target: Tensor, result: Tensor, downscaled: Tensor, gain: float, side: int = 384) -> Image.Image:
    """The input, the result, the result downscaled, and the error, amplified by `gain`.

    Args:
        target, downscaled: [3, h, w]; result: [3, H, W]; all in 0..1.
        gain: of the error, downscaled - target; grey is zero.
    """
    error = downscaled - target
    panels = {
        "input": target,
        "result (invented)": result,
        "result scaled back down": downscaled,
        f"error x{gain:g}, L2 {float(error.square().mean()):.5f}": (0.5 + gain * error).clamp(0, 1),
    }
    return side_by_side(panels, side)


def _lines(caption: str, pen: Pen, width: int) -> list[str]:
    """The lines of a caption, each truncated to this width; "..." for those that are left out."""
    lines = caption.splitlines()
    shown = lines if len(lines) <= _MOST_LINES else [*lines[: _MOST_LINES - 1], "..."]
    return [_truncate(line, pen, width) for line in shown]


def _missing(captions: Sequence[Sequence[str]]) -> list[str]:
    """Says which characters of these lines no font has, if any."""
    lost = missing_characters("".join("".join(lines) for lines in captions))
    if not lost:
        return []
    more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
    named = " ".join(f"U+{ord(letter):04X}" for letter in lost[:_MOST_NAMED])
    return [f"No font here has {named}{more}: install Noto Sans CJK or Noto Color Emoji."]


def _truncate(line: str, pen: Pen, width: int) -> str:
    """The line, truncated to this width."""
    start = line[: width + 1]  # a letter has a pixel at least
    if start == line and pen.width(line) <= width:
        return line
    fitting, too_long = 0, len(start) + 1  # numbers of letters
    while too_long - fitting > 1:
        middle = (fitting + too_long) // 2
        if pen.width(start[:middle] + "...") <= width:
            fitting = middle
        else:
            too_long = middle
    return start[:fitting] + "..."


def _fit_square(picture: Image.Image, side: int) -> Image.Image:
    """Resizes to fit a square of this side."""
    fitting = _resize_to_height(picture, max(1, round(side * min(1, picture.height / picture.width))))
    return fitting if fitting.width <= side else fitting.resize((side, fitting.height))

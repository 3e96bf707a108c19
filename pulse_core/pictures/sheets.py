"""Contact sheets, pictures side by side, and comparisons of a result with its input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..errors import SettingError
from .images import NOTICE, to_pil

_MARGIN, _BAND = 16, 40
_LINE = 1.4  # height of a line of text, in font sizes


def side_by_side(panels: Mapping[str, Tensor], side: int = 512) -> Image.Image:
    """Pictures in a row, each resized to a height of `side` pixels, with captions and the notice."""
    font, small = ImageFont.load_default(20), ImageFont.load_default(15)
    pictures = [_resize_to_height(to_pil(image), side) for image in panels.values()]
    width = _MARGIN + sum(picture.width + _MARGIN for picture in pictures)
    width = max(width, round(small.getlength(NOTICE)) + 2 * _MARGIN)
    sheet = Image.new("RGB", (width, _BAND + side + _BAND), "white")
    draw, left = ImageDraw.Draw(sheet), _MARGIN
    for caption, picture in zip(panels, pictures, strict=True):
        sheet.paste(picture, (left, _BAND))
        draw.text((left, 10), caption, fill="black", font=font)
        left += picture.width + _MARGIN
    draw.text((_MARGIN, _BAND + side + 11), NOTICE, fill="black", font=small)
    return sheet


def _resize_to_height(picture: Image.Image, height: int) -> Image.Image:
    """Resizes to this height; enlarges with square pixels, so that those of a small input are visible."""
    how = Image.Resampling.LANCZOS if picture.height > height else Image.Resampling.NEAREST
    return picture.resize((max(1, round(picture.width * height / picture.height)), height), how)


def contact_sheet(images: Sequence[Tensor], captions: Sequence[str], columns: int = 0, side: int = 256) -> Image.Image:
    """A grid of pictures with captions, and the notice below.

    Args:
        images: [3, H, W] in 0..1 each, of any sizes; each is fitted into a square of `side` pixels.
        captions: one each; long lines are truncated.
        columns: 0 makes the grid about square.

    Raises:
        SettingError: no images, or another number of captions.
    """
    if not images or len(captions) != len(images):
        raise SettingError(
            f"{len(captions)} captions were given for {len(images)} images.",
            "at least one image, and one caption for each.",
            "give one line per image.",
        )
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    size = max(10, min(20, side // 16))
    font = ImageFont.load_default(size)
    texts = [[_truncate(line, font, side) for line in caption.splitlines()] for caption in captions]
    line = round(size * _LINE)
    cell = side + line * max(1, *map(len, texts)) + _MARGIN
    width = max(columns * (side + _MARGIN) + _MARGIN, round(font.getlength(NOTICE)) + 2 * _MARGIN)
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (width, _MARGIN + rows * cell + 2 * line), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (image, lines) in enumerate(zip(images, texts, strict=True)):
        left, top = _MARGIN + number % columns * (side + _MARGIN), _MARGIN + number // columns * cell
        picture = _fit_square(to_pil(image), side)
        sheet.paste(picture, (left + (side - picture.width) // 2, top + side - picture.height))
        for row, text in enumerate(lines):
            draw.text((left, top + side + row * line + 2), text, fill="black", font=font)
    draw.text((_MARGIN, sheet.height - 2 * line + line // 4), NOTICE, fill="black", font=font)
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


def _truncate(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The line, truncated to this width."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."


def _fit_square(picture: Image.Image, side: int) -> Image.Image:
    """Resizes to fit a square of this side."""
    return _resize_to_height(picture, max(1, round(side * min(1, picture.height / picture.width))))

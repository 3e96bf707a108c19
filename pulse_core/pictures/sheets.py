"""Pictures that show pictures: side by side, on a contact sheet, a result against its input."""

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
    """Pictures in a row, each enlarged or shrunk to `side` pixels of height and captioned, the notice below."""
    font, small = ImageFont.load_default(20), ImageFont.load_default(15)
    pictures = [_of_height(to_pil(image), side) for image in panels.values()]
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


def _of_height(picture: Image.Image, height: int) -> Image.Image:
    """Enlarged pixels stay square, so that a tiny input is seen as it is."""
    how = Image.Resampling.LANCZOS if picture.height > height else Image.Resampling.NEAREST
    return picture.resize((max(1, round(picture.width * height / picture.height)), height), how)


def contact_sheet(images: Sequence[Tensor], captions: Sequence[str], columns: int = 0, side: int = 256) -> Image.Image:
    """A grid of pictures with a caption below each, and the notice below all.

    Args:
        images: [3, H, W] in 0..1 each, of any sizes; each is fitted into a square of `side` pixels.
        captions: one each; lines that are too long are cut off.
        columns: 0 makes the grid about as wide as it is high.

    Raises:
        SettingError: no image, or another number of captions.
    """
    if not images or len(captions) != len(images):
        raise SettingError(
            f"{len(captions)} captions were given for {len(images)} images.",
            "at least one image, and one caption for each.",
            "give as many lines as images.",
        )
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    size = max(10, min(20, side // 16))
    font = ImageFont.load_default(size)
    texts = [[_fitted(line, font, side) for line in caption.splitlines()] for caption in captions]
    line = round(size * _LINE)
    cell = side + line * max(1, *map(len, texts)) + _MARGIN
    width = max(columns * (side + _MARGIN) + _MARGIN, round(font.getlength(NOTICE)) + 2 * _MARGIN)
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (width, _MARGIN + rows * cell + 2 * line), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (image, lines) in enumerate(zip(images, texts, strict=True)):
        left, top = _MARGIN + number % columns * (side + _MARGIN), _MARGIN + number // columns * cell
        picture = _within(to_pil(image), side)
        sheet.paste(picture, (left + (side - picture.width) // 2, top + side - picture.height))
        for row, text in enumerate(lines):
            draw.text((left, top + side + row * line + 2), text, fill="black", font=font)
    draw.text((_MARGIN, sheet.height - 2 * line + line // 4), NOTICE, fill="black", font=font)
    return sheet


def comparison(given: Tensor, result: Tensor, downscaled: Tensor, gain: float, side: int = 384) -> Image.Image:
    """The input, the result, the result scaled down, and what is left between them, `gain` times enlarged.

    Args:
        given, downscaled: [3, h, w]; result: [3, H, W]; all in 0..1.
        gain: of the error, which is shown around grey: downscaled - given.
    """
    error = downscaled - given
    panels = {
        "input": given,
        "result (invented)": result,
        "result scaled back down": downscaled,
        f"error x{gain:g}, L2 {float(error.square().mean()):.5f}": (0.5 + gain * error).clamp(0, 1),
    }
    return side_by_side(panels, side)


def _fitted(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The line, cut off where it is wider."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."


def _within(picture: Image.Image, side: int) -> Image.Image:
    """As large as the square allows."""
    return _of_height(picture, max(1, round(side * min(1, picture.height / picture.width))))

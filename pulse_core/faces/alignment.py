"""Crops of faces, aligned as in FFHQ, and a drawing of where they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from PIL import ImageDraw, ImageFont
from torch import Tensor

from ..interrupts import each
from ..limits import FLOAT, check_bytes
from ..pictures.images import from_pil, to_pil
from .face import Face, Faces
from .sizes import MIN_FACE_SIDE
from .warping import crop_square

_Box = tuple[float, float, float, float]  # left, top, right, bottom
_COLOUR, _SHADE = "#ffd400", "#000000"


def align(pictures: Iterable[Tensor], faces: Faces, size: int) -> Iterator[Tensor]:
    """Yields [3, size, size] in 0..1 for each face, in order; see `warping.crop_square`.

    Args:
        pictures: [3, H, W] each, in which the faces were found.

    Raises:
        SettingError: the crops of all faces would take too much memory.
    """
    crops = f"{len(faces)} faces of {size} pixels a side"
    check_bytes(len(faces) * 3 * size * size * FLOAT, crops, "use a smaller size, or find fewer faces.")
    for number, picture in enumerate(pictures):
        for _, face in each(faces.of_picture(number)):
            yield crop_square(picture, face.quad, size)


def face_label(face: Face) -> str:
    """The size of a face in its photograph and its effective size: "80 px, holds 32"."""
    size = f"{face.side:.0f} px"
    if face.side < MIN_FACE_SIDE:
        return f"{size}, too small"
    return size if face.estimate is None or not face.estimate.is_sure else f"{size}, holds {face.estimate.size}"


def face_summary(face: Face) -> str:
    """`face_label` and the rest of the estimate: "80 px, holds 32, blur 1.3 px, noise 0.02, grey"."""
    if face.side < MIN_FACE_SIDE:
        return f"{face.side:.0f} px, too small to estimate anything"
    rest = "" if face.estimate is None else face.estimate.summary.partition(", ")[2]
    return f"{face_label(face)}, {rest}" if rest else face_label(face)


def draw_faces(picture: Tensor, faces: Iterable[tuple[int, Face]], longest: int = 1024) -> Tensor:
    """The picture with the square, landmarks, number and label of each face: [3, h, w].

    Where labels would cover each other, there are only the numbers.

    Args:
        longest: maximum of the longer side, in pixels; smaller pictures are enlarged to half of it.
    """
    image = to_pil(picture)
    scale = min(max(1.0, longest / 2 / max(image.size)), longest / max(image.size))
    if scale != 1:
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    draw = ImageDraw.Draw(image)
    stroke = max(1, round(max(image.size) / 250))
    font = ImageFont.load_default(max(11, round(max(image.size) / 45)))
    assert isinstance(font, ImageFont.FreeTypeFont)
    drawn = list(faces)
    for _, face in each(drawn):
        corners = [tuple(point) for point in (face.quad * scale).tolist()]
        draw.line([*corners, corners[0]], fill=_COLOUR, width=stroke, joint="curve")
        draw.line([corners[0], corners[3]], fill=_COLOUR, width=3 * stroke)  # the top edge
        for x, y in (face.landmarks * scale).tolist():
            radius = 1.5 * stroke
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_COLOUR, outline=_SHADE)
    for label, corner, box in _labels(drawn, scale, draw, font):
        draw.rectangle((box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2), fill=_COLOUR)
        draw.text(corner, label, fill=_SHADE, font=font)
    return from_pil(image)


def _labels(
    faces: Sequence[tuple[int, Face]], scale: float, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont
) -> list[tuple[str, tuple[float, float], _Box]]:
    """The text at each face, its corner and its box; numbers alone where the texts would cover each other."""
    corners = [(max(0.0, x * scale), max(0.0, y * scale)) for x, y in (face.quad[0].tolist() for _, face in faces)]
    numbers = [str(number + 1) for number, _ in faces]
    labels = [f"{number}: {face_label(face)}" for number, (_, face) in zip(numbers, faces, strict=True)]
    for texts in (labels, numbers):
        boxes = [draw.textbbox(corner, text, font=font) for corner, text in zip(corners, texts, strict=True)]
        if not any(_meet(a, b) for place, a in enumerate(boxes) for b in boxes[:place]):
            break
    return list(zip(texts, corners, boxes, strict=True))


def _meet(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

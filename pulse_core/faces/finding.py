"""The faces of a picture: detected, or marked by the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ImageError, SettingError
from ..interrupts import each
from ..limits import check_length
from ..pictures.images import check_colours
from ..settings import Settings, option
from .detection import detect
from .estimation import SIZES, DegradationEstimate, estimate_degradation
from .face import POINTS, Face, Faces, Source, ffhq_quad, side_of
from .warping import crop_square

# upright: only upright faces. auto: the quarter turn of the picture with the highest score, if no face is clearly
# upright. any: each face in its own quarter turn.
ROTATIONS = ("auto", "upright", "any")
_UPRIGHT_SCORE = 0.99  # upside-down faces score less, upright ones more
_MASK_THRESHOLD = 0.5  # score threshold where the user's mask says that there is a face
_MARKED = 0.5  # a mask over more of the picture than this leaves somebody out, and says of no place that it has a face
_CONTEXT = 0.5  # margin around a masked region, as a fraction of its side
MAX_MARKED, MAX_TEXT = 256, 1 << 15  # faces marked by hand, and the characters that mark them
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True)
class FindSettings(Settings):
    """Which faces are detected and kept."""

    max_faces: int = option(0, "maximum number of faces per picture, largest first; 0: all", low=0, high=10_000)
    score_threshold: float = option(
        0.9,
        "minimum score of the detector; lower values find more faces, and more that are none",
        low=0.0,
        high=1.0,
        widget="advanced",
    )
    min_face_size: int = option(
        0,
        "size of the smallest face that is searched for, from brow to chin; 0: 12 in pictures of up to 3 megapixels, "
        "more in larger ones",
        unit="pixels",
        low=0,
        high=100_000,
        widget="advanced",
    )
    rotation: str = option(
        "auto",
        "upright: only upright faces; any: any quarter turn of each face; auto: one quarter turn of the whole picture "
        "if no face is clearly upright",
        choices=ROTATIONS,
        widget="advanced",
    )


def find_faces(
    pictures: Iterable[Tensor], settings: FindSettings | None = None, masks: Iterable[Tensor | None] | None = None
) -> Faces:
    """Detects the faces of each picture, largest first.

    Args:
        pictures: [3, H, W] in 0..1 each, of any sizes; processed one at a time.
        masks: for each picture None, or [H, W] with 1 where its faces are: only faces whose centre is there are
            returned, with a lower threshold if it covers at most half of the picture.

    Raises:
        ImageError: values that are not colours, or a mask of another size than its picture.
        SettingError: min_face_size enlarges a picture to more than fits into memory.
    """
    settings = settings or FindSettings()
    each_mask = iter(masks if masks is not None else ())

    def detect_faces(picture: Tensor) -> list[tuple[Tensor, float]]:
        check_colours(picture)
        mask = next(each_mask, None)
        return _detect_rotations(picture, settings) if mask is None else _detect_in_mask(picture, mask, settings)

    return _collect(pictures, detect_faces, settings.max_faces)


def _collect(
    pictures: Iterable[Tensor], detector: Callable[[Tensor], list[tuple[Tensor, float]]], limit: int = 0
) -> Faces:
    """The faces of each picture, largest first, at most `limit` (0: all); the detector gives landmarks and scores."""
    faces: list[Face] = []
    sources: list[Source] = []
    for number, picture in enumerate(each(pictures)):
        found = (Face(number, points, score) for points, score in detector(picture))
        largest = sorted(found, key=lambda face: -face.side)[: limit or None]
        faces += [replace(face, estimate=estimate_face(picture, face)) for face in each(largest)]
        sources.append(Source.of(picture))
    return Faces(tuple(faces), tuple(sources))


def estimate_face(picture: Tensor, face: Face) -> DegradationEstimate:
    """Estimates the degradation of a face, cropped at about its size in the picture [3, H, W]."""
    return estimate_degradation(crop_square(picture, face.quad, min(max(round(face.side), SIZES[0]), SIZES[-1])))


def no_face_error(settings: FindSettings, size: Sequence[int]) -> ImageError:
    """The error for a picture without faces; size is (height, width)."""
    return ImageError(
        f"No face was found in the picture ({size[1]}x{size[0]}) with a score of {settings.score_threshold:g} or more.",
        "a picture with a face that shows both eyes and the mouth.",
        "lower score_threshold, set min_face_size to the size of the smallest face, mark the face with a mask or "
        "with five points, or let pictures without faces pass through.",
    )


def _detect_rotations(picture: Tensor, settings: FindSettings) -> list[tuple[Tensor, float]]:
    """(landmarks, score) of each face, in the quarter turns of the settings."""
    upright = _detect_rotated(picture, 0, settings)
    if settings.rotation == "upright" or (settings.rotation == "auto" and _best_score(upright) >= _UPRIGHT_SCORE):
        return upright
    turns = [upright, *(_detect_rotated(picture, turn, settings) for turn in (1, 2, 3))]
    if settings.rotation == "auto":
        return max(turns, key=_best_score)
    distinct: list[tuple[Tensor, float]] = []
    for points, score in sorted((face for found in turns for face in found), key=lambda face: -face[1]):
        # of the same face in several turns, the highest score is right
        if not any(_is_same(points, other) for other, _ in distinct):
            distinct.append((points, score))
    return distinct


def _best_score(found: list[tuple[Tensor, float]]) -> float:
    return max((score for _, score in found), default=0.0)


def _detect_rotated(picture: Tensor, turn: int, settings: FindSettings) -> list[tuple[Tensor, float]]:
    """Faces that are upright after so many counter-clockwise quarter turns, in the picture's own coordinates."""
    height, width = picture.shape[-2:]
    turned = torch.rot90(picture, turn, (-2, -1))
    faces = detect(turned, threshold=settings.score_threshold, min_size=settings.min_face_size)
    return [(_rotate_back(face.landmarks.cpu().double(), turn, height, width), face.score) for face in faces]


def _rotate_back(points: Tensor, turn: int, height: int, width: int) -> Tensor:
    x, y = points.unbind(-1)
    return torch.stack(((x, y), (width - y, x), (width - x, height - y), (y, height - x))[turn], dim=-1)


def _is_same(points: Tensor, other: Tensor) -> bool:
    """Whether the centres of two faces are closer than half the extent of the smaller one."""
    extent = min(float((each.amax(0) - each.amin(0)).max()) for each in (points, other))
    return float((points.mean(0) - other.mean(0)).norm()) < extent / 2


def _detect_in_mask(picture: Tensor, mask: Tensor, settings: FindSettings) -> list[tuple[Tensor, float]]:
    if mask.shape != picture.shape[-2:]:
        raise ImageError(
            f"The mask is {mask.shape[-1]}x{mask.shape[-2]}; its picture is {picture.shape[-1]}x{picture.shape[-2]}.",
            "a mask of the picture's size.",
            "draw the mask on this picture.",
        )
    where = (mask > 0.5).nonzero()
    if not len(where):
        return []
    (top, left), (bottom, right) = where.amin(0).tolist(), (where.amax(0) + 1).tolist()
    around = round(max(bottom - top, right - left) * _CONTEXT)
    top, left = max(0, top - around), max(0, left - around)
    region = picture[:, top : bottom + around, left : right + around]
    threshold = min(settings.score_threshold, _MASK_THRESHOLD if len(where) <= _MARKED * mask.numel() else 1.0)
    lenient = replace(settings, score_threshold=threshold)
    corner = torch.tensor([left, top], dtype=torch.float64)
    found = ((points + corner, score) for points, score in _detect_rotations(region, lenient))
    return [(points, score) for points, score in found if _covers(mask, points)]


def _covers(mask: Tensor, points: Tensor) -> bool:
    column, row = points.mean(0).floor().long().tolist()
    return 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and bool(mask[row, column] > 0.5)


def marked_faces(pictures: Iterable[Tensor], text: str) -> Faces:
    """Faces marked by five points each, the same in every picture.

    Args:
        text: ten numbers for a face, the x and y in pixels of face.POINTS; any separators.

    Raises:
        SettingError: another number of numbers, points far outside a picture, points that do not span a face, or too
            many faces.
    """
    check_length(text, MAX_TEXT, "The text of the landmarks", "mark fewer faces.")
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if len(numbers) > 2 * len(POINTS) * MAX_MARKED:
        raise SettingError(
            f"The landmarks mark {len(numbers) // (2 * len(POINTS))} faces.", f"up to {MAX_MARKED}.", "mark fewer."
        )
    if not numbers or len(numbers) % (2 * len(POINTS)):
        raise SettingError(
            f"The landmarks have {len(numbers)} numbers.",
            f"ten for each face: x and y, in pixels, of {', '.join(POINTS)}.",
            'give them like "120,95 180,96 150,130 128,160 174,161".',
        )
    marked = [_in_order(points) for points in torch.tensor(numbers, dtype=torch.float64).view(-1, 5, 2)]
    return _collect(pictures, lambda picture: [(_checked(points, picture), 1.0) for points in marked])


def _in_order(points: Tensor) -> Tensor:
    """Left and right as seen in the picture, also if they were given from the person's view."""
    across, down = points[1] - points[0], points[3:].mean(0) - points[:2].mean(0)
    mirrored = float(across[0] * down[1] - across[1] * down[0]) < 0
    return points[[1, 0, 2, 4, 3]] if mirrored else points


def _checked(points: Tensor, picture: Tensor) -> Tensor:
    height, width = picture.shape[-2:]
    x, y = points.unbind(-1)
    side = side_of(ffhq_quad(points))
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    if int(inside.sum()) < 3 or not 4 <= side <= 4 * max(height, width):  # the side of huge numbers is NaN
        raise SettingError(
            f"The landmarks {points.tolist()} mark a face of {side:.0f} pixels in a picture of {width}x{height}.",
            "points on the face, in pixels of this picture, at least three of them inside it.",
            "read them off the picture at full size.",
        )
    return points

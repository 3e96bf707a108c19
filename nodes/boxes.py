"""Reads a BOUNDING_BOX input: which parts of the images hold the faces to find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..pulse_core.errors import SettingError

_KEYS = ("x", "y", "width", "height")
_Box = tuple[float, float, float, float]


def with_boxes(masks: Sequence[Tensor | None], boxes: Any, size: tuple[int, int]) -> list[Tensor | None]:
    """The masks of the images [H, W], to which the boxes are added as white rectangles.

    Args:
        boxes: {x, y, width, height} in pixels; a list of them, which serves all images; or a list of lists, one for
            each image. None or all empty: the masks as they are.
        size: (height, width) of the images.

    Raises:
        SettingError: no boxes, boxes of another number of images, or a box outside of the image.
    """
    each = _of_images(boxes, len(masks))
    if not any(each):
        return list(masks)
    return [_drawn(mask, here, size) for mask, here in zip(masks, each, strict=True)]


def _of_images(boxes: Any, count: int) -> list[list[_Box]]:
    """The boxes of each image."""
    if boxes is None or isinstance(boxes, dict):
        return [[] if boxes is None else [_box(boxes)]] * count
    if not isinstance(boxes, (list, tuple)):
        raise _error(boxes)
    if not any(isinstance(part, (list, tuple)) for part in boxes):
        return [[_box(part) for part in boxes]] * count
    frames = [[_box(part) for part in (frame if isinstance(frame, (list, tuple)) else [frame])] for frame in boxes]
    if len(frames) not in (1, count):
        raise SettingError(
            f"There are boxes of {len(frames)} images for {count} images.",
            "a list of boxes for each image, or one list for all.",
            "detect the boxes in these images.",
        )
    return frames * (count // len(frames))


def _box(value: Any) -> _Box:
    if not isinstance(value, dict) or any(isinstance(value.get(key), str) for key in _KEYS):
        raise _error(value)
    try:
        x, y, width, height = (float(value[key]) for key in _KEYS)  # detectors also give the numbers of NumPy and torch
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _error(value) from error
    except OverflowError as error:  # whole numbers of more than 308 digits
        raise _error({key: type(value[key]).__name__ for key in _KEYS}) from error
    return x, y, width, height


def _error(value: Any) -> SettingError:
    return SettingError(
        f"The boxes hold {str(value)[:80]!r}.",
        "bounding boxes: x, y, width and height in pixels.",
        "connect a Bounding Box or Create Bounding Boxes node.",
    )


def _drawn(mask: Tensor | None, boxes: list[_Box], size: tuple[int, int]) -> Tensor:
    drawn = torch.zeros(size) if mask is None else mask.clone()  # one mask may serve all images
    for x, y, width, height in boxes:
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, size[1]), min(y + height, size[0])
        if not (left < right and top < bottom):  # also true of NaN
            raise SettingError(
                f"The box of {width:g}x{height:g} pixels at {x:g}, {y:g} lies outside of the image "
                f"({size[1]}x{size[0]}).",
                "a box in pixels of this image.",
                "set width and height of the node that draws the boxes to those of the image.",
            )
        drawn[int(top) : max(int(bottom), int(top) + 1), int(left) : max(int(right), int(left) + 1)] = 1
    return drawn

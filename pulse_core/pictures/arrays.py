"""Pictures of other libraries: PIL images and numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import ImageError
from .colour import colour_space, converted
from .images import from_pil

ArrayLike = Union[Tensor, "np.ndarray[Any, Any]", Image.Image]

_TOP = {"uint8": 255, "uint16": 65535, "bool": 1}  # white, in arrays of whole numbers


def as_tensor(picture: Any) -> Tensor:
    """A picture, or a batch of them, as a tensor [C, H, W] or [B, C, H, W] in 0..1.

    Args:
        picture: a tensor of this shape, which is returned; a PIL image, whose orientation and colour profile are
            applied; or an array [H, W], [H, W, C] or [B, H, W, C], of uint8, uint16, or floats in 0..1.

    Raises:
        ImageError: none of these.
    """
    if isinstance(picture, Tensor):
        return picture.clone() if picture.is_inference() and not torch.is_inference_mode_enabled() else picture
    if isinstance(picture, Image.Image):
        return _of_pil(picture)
    if isinstance(picture, np.ndarray):
        return _of_array(picture)
    raise ImageError(
        f"The picture is a {type(picture).__name__}.",
        "a path, a tensor [C, H, W], a PIL image, or a numpy array [H, W, C].",
        "convert it to one of these.",
    )


def as_tensors(pictures: Any) -> Tensor | list[Tensor]:
    """As `as_tensor`, for one of these or a sequence of them."""
    if isinstance(pictures, Sequence) and not isinstance(pictures, (str, bytes)):
        return [as_tensor(picture) for picture in pictures]
    return as_tensor(pictures)


def _of_pil(image: Image.Image) -> Tensor:
    try:
        upright = ImageOps.exif_transpose(image)
        profile = image.info.get("icc_profile")
        if upright.mode in ("CMYK", "LAB"):
            return from_pil(converted(upright, profile))
        pixels = from_pil(upright)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"The PIL image cannot be decoded ({error}).", "a whole picture.", "save it again.") from error
    if not isinstance(profile, bytes) or len(pixels) < 3:
        return pixels
    space, _ = colour_space(3, profile)
    return torch.cat([space.to_srgb(pixels[:3]), pixels[3:]])


def _of_array(array: np.ndarray) -> Tensor:
    found = f"The array has the shape {list(array.shape)} and the type {array.dtype}."
    if array.ndim not in (2, 3, 4) or (array.ndim > 2 and array.shape[-1] not in (1, 2, 3, 4)):
        raise ImageError(found, "[H, W], [H, W, C] or [B, H, W, C], with C of 1, 2, 3 or 4.", "move the channels last.")
    top = _TOP.get(array.dtype.name, 1 if array.dtype.kind == "f" else 0)
    if not top:
        raise ImageError(found, "uint8, uint16, or floats in 0..1.", "convert it to one of these.")
    pixels = torch.from_numpy(np.ascontiguousarray(array, np.float32) / np.float32(top))
    return pixels[None] if array.ndim == 2 else pixels.movedim(-1, -3).contiguous()

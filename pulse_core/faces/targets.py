"""Targets from pictures of one face, without face detection."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..degradations import Degradation
from .estimation import SIZES, DegradationEstimate, estimate_degradation
from .sizes import AUTO, picture_target_size, resize_to_target


@dataclass(frozen=True)
class PlainTarget:
    """A target and the estimate it is based on.

    picture: [3, h, w], the target. input_size: width of the input, in pixels. estimate: of the input's degradation;
    None below 16 pixels.
    """

    picture: Tensor
    input_size: int
    estimate: DegradationEstimate | None


def plain_target(
    picture: Tensor, lr_size: int, resolution: tuple[int, int], degradation: Degradation | None = None
) -> PlainTarget:
    """Downscales a picture [3, H, W] of a face to its effective size.

    Args:
        lr_size: width of the target, in pixels; 0: the effective size, if that is clearly smaller than the picture.
        resolution: (height, width) of the generator. Pictures of another ratio are returned as they are.
        degradation: of the search, in the picture's own pixels: with one, an lr_size of 0 keeps the picture's size.

    Raises:
        ImageError: values that are not colours, or an lr_size above the generator's.
    """
    width = picture.shape[-1]
    estimate = estimate_degradation(picture) if min(picture.shape[-2:]) >= SIZES[0] else None
    if lr_size == AUTO:
        height = picture.shape[-2]
        same_shape = height * resolution[1] == width * resolution[0]
        lr_size = (
            picture_target_size((height, width), estimate, resolution[1])
            if same_shape and degradation is None
            else width
        )
        if lr_size == width:
            return PlainTarget(picture, width, estimate)
    return PlainTarget(resize_to_target(picture, lr_size, resolution), width, estimate)


def size_summary(size: int, input_size: float) -> str:
    """As in "matched at 24 of 256 pixels"; empty if the target has the input's size."""
    return f"matched at {size} of {input_size:.0f} pixels" if size < round(input_size) else ""

"""What a search should match of a plain picture, one whose faces nobody looked for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..degradations import Degradation
from .estimation import SIZES, DegradationEstimate, estimate_degradation
from .sizes import AUTO, picture_target_size, resize_to_target


@dataclass(frozen=True)
class PlainTarget:
    """A picture as a search should match it.

    picture: [3, h, w]. given: how many pixels wide it was. estimate: what was measured; None of fewer than 16 pixels.
    """

    picture: Tensor
    input_size: int
    estimate: DegradationEstimate | None

    @property
    def summary(self) -> str:
        """See `size_summary`."""
        return size_summary(self.picture.shape[-1], self.input_size)


def plain_target(
    picture: Tensor, lr_size: int, resolution: tuple[int, int], degradation: Degradation | None = None
) -> PlainTarget:
    """A picture [3, H, W] of a face, shrunk to the pixels that it holds.

    Args:
        lr_size: pixels a side that it is matched at; 0 takes what it holds, where that is less than it has.
        resolution: the generator's (height, width). Pictures of another shape are left to the search, which says so.
        degradation: of the search. It speaks of the picture's own pixels, so that 0 leaves those.

    Raises:
        ImageError: no colours, or an lr_size beyond the generator's.
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
    """As in "matched at 24 of 256 pixels"; nothing where all pixels are matched."""
    return f"matched at {size} of {input_size:.0f} pixels" if size < round(input_size) else ""

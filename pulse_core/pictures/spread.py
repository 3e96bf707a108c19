"""Where solutions of one target differ: the detail that the target does not determine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import SettingError
from ..interrupts import each

# From equal to different: black, violet, red, orange, yellow, white; each lighter than the last.
_COLOURS = (
    (0.0, 0.0, 0.02),
    (0.30, 0.06, 0.43),
    (0.73, 0.21, 0.33),
    (0.98, 0.53, 0.06),
    (0.98, 0.87, 0.35),
    (1.0, 1.0, 0.9),
)


def spread(images: Sequence[Tensor]) -> Tensor:
    """[3, H, W] in 0..1 each -> [H, W]: the standard deviation of each pixel, as RMS over the channels.

    Raises:
        SettingError: fewer than two images.
    """
    if len(images) < 2:
        raise SettingError(
            f"There are {len(images)} solutions to compare.",
            "two or more of one input.",
            "raise solutions, or steps so that more are found; or include those that were not found.",
        )
    mean = torch.zeros_like(images[0], dtype=torch.float64)
    for image in each(images):
        mean += image
    mean /= len(images)
    squares = torch.zeros_like(mean)
    for image in each(images):
        squares += (image - mean).square()
    return (squares / (len(images) - 1)).mean(0).sqrt().float()


def heat_map(values: Tensor) -> Tensor:
    """[H, W] in 0..1 -> colours [3, H, W]: dark for small values, light for large ones."""
    colours = torch.tensor(_COLOURS, dtype=values.dtype, device=values.device)
    place = values.clamp(0, 1) * (len(colours) - 1)
    low = place.long().clamp(max=len(colours) - 2)
    share = (place - low)[..., None]
    return (colours[low] * (1 - share) + colours[low + 1] * share).movedim(-1, 0)

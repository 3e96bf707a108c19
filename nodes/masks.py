"""Reads MASK inputs, as the host and other packs give them."""

from __future__ import annotations

from torch import Tensor

from ..pulse_core.errors import SettingError
from . import host


def masks_of_images(mask: Tensor | None, count: int) -> list[Tensor | None]:
    """The masks [H, W] of `count` images, float32, from the host's MASK [B, H, W].

    One mask serves all images. Of one image, several masks are joined, as programs that segment faces give one for
    each. Masks that are all empty count as none, as Load Image gives such a one for a picture without alpha. An empty
    one among others is kept: nobody in that image.

    Raises:
        SettingError: several images, and another number of masks.
    """
    drawn = each_mask(mask)
    if drawn is None:
        return [None] * count
    if len(drawn) not in (1, count) and count > 1:
        raise SettingError(
            f"There are {len(drawn)} masks for {count} images.", "one mask, or one for each.", "give as many."
        )
    parts: list[Tensor | None] = [*map(host.full, drawn)] if count > 1 else [host.full(drawn).amax(0)]
    return parts * (count // len(parts))


def each_mask(mask: Tensor | None) -> Tensor | None:
    """The host's MASK as [B, H, W]; None if all of it is empty.

    Other packs also give [H, W], [B, 1, H, W] and [B, H, W, 1].
    """
    if mask is None or not bool((mask > 0).any()):
        return None
    if mask.ndim == 4 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    return mask.reshape(-1, *mask.shape[-2:])

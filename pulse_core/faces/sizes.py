"""How much of a face a photograph really shows: the low resolution that a search should match."""

from __future__ import annotations

import math

from torch import Tensor

from ..degradations import Chain, Degradation
from ..degradations.bicubic import downsample
from ..degradations.grey import Grey
from ..degradations.mask import Mask
from ..errors import ImageError
from ..pictures.images import check_colours
from .estimation import DegradationEstimate
from .face import Face, Source
from .warping import resize, share_inside

AUTO = 0  # the size that a caller leaves to us
_MASK_SIDE = 256  # pixels a side of the mask of a face that lies partly outside of its photograph
_SMALLEST = 16  # fewer pixels leave nearly everything open
MAX_SIZE = 128  # more pays no further: the search takes much longer, and the generator's own detail is as fine
MIN_FACE_SIDE = 12  # pixels of a face below which nothing can be said of it
_ENLARGED_FROM = 96  # pixels a side, from which a picture may have been enlarged before
_NEARLY = 0.75  # of its own size is as good as all of it


def useful_sizes(resolution: int) -> list[int]:
    """16, 32, 64, ... up to the generator's resolution (or that alone, where it is smaller)."""
    sizes = [_SMALLEST]
    while sizes[-1] * 2 <= resolution:
        sizes.append(sizes[-1] * 2)
    return sizes if resolution >= _SMALLEST else [resolution]


def lr_size(side: float, resolution: int) -> int:
    """The useful size nearest, as a ratio, to a face of `side` pixels in its photograph.

    The pixels of a face that was enlarged say no more than the ones it had before; a size much above them
    would ask the generator for a blurred face, a size much below would throw away what is known.
    """
    return min(useful_sizes(resolution), key=lambda size: abs(math.log(size / max(side, 1e-6))))


def face_target_size(face: Face, resolution: int) -> int:
    """The size that a face is matched at: what its pixels hold, or what it has in its file where that is not known."""
    estimate = face.estimate
    if estimate is None or not estimate.is_sure:
        return min(lr_size(face.side, resolution), MAX_SIZE)
    return min(estimate.size, MAX_SIZE, resolution)


def picture_target_size(shape: tuple[int, int], estimate: DegradationEstimate | None, resolution: int) -> int:
    """The width that a picture of a face is matched at: its own, or what it holds where that is clearly less.

    A picture that was enlarged before says no more than it did; a tiny one is taken as it is.

    Args:
        shape: (height, width) of the picture. estimate: what was measured of it.
    """
    width = shape[1]
    if estimate is None or min(shape) < _ENLARGED_FROM:
        return width
    size = min(estimate.size if estimate.is_sure else MAX_SIZE, MAX_SIZE, resolution)
    return width if size >= _NEARLY * width else size


def face_degradation(
    face: Face, source: Source, size: int, degradation: Degradation | None = None
) -> Degradation | None:
    """What a search for a face at this size looks through: what was measured, or the degradation that is given.

    Args:
        source: of the photograph in which the face was found, whose border hides what lies beyond it.
    """
    estimate = face.estimate
    if degradation is None and estimate is not None and estimate.is_sure:
        degradation = estimate.degradation(size)
    return add_border_mask(face, source, degradation)


def match_colour_mode(image: Tensor, face: Face) -> Tensor:
    """A restored face [3, H, W], grey where its photograph is."""
    return Grey().forward(image[None])[0] if face.estimate is not None and face.estimate.is_grey else image


def add_border_mask(face: Face, source: Source, degradation: Degradation | None = None) -> Degradation | None:
    """The degradation, and behind it a mask of what the alignment invented beyond the photograph's border.

    Args:
        source: of the photograph in which the face was found.
    """
    inside = share_inside(face.quad, source.height, source.width, _MASK_SIDE)
    if bool((inside == 1).all()) or not bool(inside.any()):
        return degradation
    border = Mask(inside)
    return border if degradation is None else Chain([degradation, border])


def resize_to_target(face: Tensor, width: int, resolution: tuple[int, int]) -> Tensor:
    """An aligned face [3, H, W] of any size -> [3, h, width], antialiased bicubic as the search looks at it.

    Args:
        resolution: the generator's (height, width), whose ratio the face must have.

    Raises:
        ImageError: no colours, another ratio, or a width below 1 or above the generator's.
    """
    check_colours(face)
    height = round(width * resolution[0] / resolution[1])
    found = f"The face is {face.shape[-1]}x{face.shape[-2]}, wanted {width} pixels wide; "
    found += f"the generator makes {resolution[1]}x{resolution[0]}."
    if face.shape[-2] * resolution[1] != face.shape[-1] * resolution[0]:
        raise ImageError(found, "a face of the generator's shape.", "align it first (PULSE Align Faces).")
    if not (1 <= width <= resolution[1] and height >= 1):
        raise ImageError(found, f"an lr_size of 1 to {resolution[1]}.", "choose a smaller one, or 0 for automatic.")
    if height <= face.shape[-2]:
        return downsample(face, size=(height, width)).clamp(0, 1)
    return resize(face, height, width).clamp(0, 1)

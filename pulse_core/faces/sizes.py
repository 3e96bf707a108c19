"""The target of a search for a face: its size, its degradation, its colour mode."""

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

AUTO = 0  # lr_size: choose the size
_MASK_SIDE = 256  # pixels a side of the mask of a face that is partly outside its photograph
_SMALLEST = 16  # fewer pixels constrain almost nothing
MAX_SIZE = 128  # larger targets take much longer and gain nothing over the generator's own detail
MIN_FACE_SIDE = 12  # pixels; smaller faces are left as they are
_ENLARGED_FROM = 96  # pixels a side; smaller pictures are assumed not to have been enlarged
_KEEP_SIZE = 0.75  # effective sizes from this share of the picture's own size keep the own size


def useful_sizes(resolution: int) -> list[int]:
    """16, 32, 64, ... up to the generator's resolution (or only that, if it is smaller)."""
    sizes = [_SMALLEST]
    while sizes[-1] * 2 <= resolution:
        sizes.append(sizes[-1] * 2)
    return sizes if resolution >= _SMALLEST else [resolution]


def lr_size(side: float, resolution: int) -> int:
    """The useful size with the nearest ratio to a face of `side` pixels in its photograph.

    A much larger target would make the generator draw a blurred face; a much smaller one would discard information.
    """
    return min(useful_sizes(resolution), key=lambda size: abs(math.log(size / max(side, 1e-6))))


def face_target_size(face: Face, resolution: int) -> int:
    """The target size of a face: its effective size, or the size nearest to its own if the estimate is not reliable."""
    estimate = face.estimate
    if estimate is None or not estimate.is_sure:
        return min(lr_size(face.side, resolution), MAX_SIZE)
    return min(estimate.size, MAX_SIZE, resolution)


def picture_target_size(shape: tuple[int, int], estimate: DegradationEstimate | None, resolution: int) -> int:
    """The target width of a picture of a face: its own, or its effective size if that is clearly smaller.

    An enlarged picture carries no more signal than before; a tiny one is used as it is.

    Args:
        shape: (height, width) of the picture. estimate: of its degradation.
    """
    width = shape[1]
    if estimate is None or min(shape) < _ENLARGED_FROM:
        return width
    size = min(estimate.size if estimate.is_sure else MAX_SIZE, MAX_SIZE, resolution)
    return width if size >= _KEEP_SIZE * width else size


def face_degradation(
    face: Face, source: Source, size: int, degradation: Degradation | None = None
) -> Degradation | None:
    """The degradation of a face's target of this size: the given one, or the estimate, with the border mask.

    Args:
        source: of the photograph in which the face was found.
    """
    estimate = face.estimate
    if degradation is None and estimate is not None and estimate.is_sure:
        degradation = estimate.degradation(size)
    return add_border_mask(face, source, degradation)


def match_colour_mode(image: Tensor, face: Face) -> Tensor:
    """Makes a restored face [3, H, W] grey if the face in the photograph is."""
    return Grey().forward(image[None])[0] if face.estimate is not None and face.estimate.is_grey else image


def add_border_mask(face: Face, source: Source, degradation: Degradation | None = None) -> Degradation | None:
    """Appends a mask of the pixels that the alignment filled in beyond the photograph's border.

    Args:
        source: of the photograph in which the face was found.
    """
    inside = share_inside(face.quad, source.height, source.width, _MASK_SIDE)
    if bool((inside == 1).all()) or not bool(inside.any()):
        return degradation
    border = Mask(inside)
    return border if degradation is None else Chain([degradation, border])


def resize_to_target(face: Tensor, width: int, resolution: tuple[int, int]) -> Tensor:
    """An aligned face [3, H, W] of any size -> [3, h, width], antialiased bicubic, as the forward operator.

    Args:
        resolution: (height, width) of the generator; the face must have the same aspect ratio.

    Raises:
        ImageError: values that are not colours, another ratio, or a width below 1 or above the generator's.
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

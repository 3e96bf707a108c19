"""Pasting restored faces back into their photograph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..degradations.blur import GaussianBlur
from ..errors import ImageError, SettingError
from ..settings import Settings, option
from .estimation import DegradationEstimate
from .face import CENTRE, RADII, Face, Source, side_of
from .warping import Bounds, bounds_of, crop_square, paste_square, resize, square_coordinates

_MIN_CONTRAST, _MAX_CONTRAST = 0.5, 2.0  # limits of the contrast change by colour matching
_MAX_SIDE = 16384  # pixels a side of an enlarged photograph
_HEAD_RADIUS = 0.95  # of the head with its ears, in radii of the face
_FACE_SEAM = 0.25  # width of the seam between two faces, in radii
_MIN_BLUR = 0.2  # pixels
_STATISTICS_SIZE = 128  # pixels a side for colour statistics


@dataclass(frozen=True)
class PasteSettings(Settings):
    """How restored faces are blended into their photograph."""

    blend: float = option(1.0, "opacity of the restored face", low=0.0, high=1.0)
    color_match: float = option(
        0.0, "how far the restored face takes over the colours and contrast of the photograph", low=0.0, high=1.0
    )
    feather: float = option(
        0.1,
        "width of the seam in which the restored head fades into the photograph; 0 pastes the whole square",
        unit="sides of the face's square",
        low=0.0,
        high=0.5,
    )
    grain: float = option(
        0.5,
        "how far the restored face takes over the estimated grain and blur of the photograph, so that it does not "
        "stand out; not if the photograph is enlarged",
        low=0.0,
        high=1.0,
        widget="appended",
    )
    enlarge: float = option(
        1.0,
        "factor by which the photograph is enlarged; the faces keep their detail",
        unit="times",
        low=1.0,
        high=16.0,
        step=0.5,
    )


@dataclass(frozen=True)
class Patch:
    """A restored face, [3, S, S] in 0..1, for `face`.

    mask: replaces the feathered seam, 1 where the face is pasted: [h, w] of the photograph, at any scale, or [S, S].
    """

    face: Face
    image: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True)
class Pasted:
    """picture: [C, H, W] in 0..1. invented: [H, W], from 0 (the photograph is unchanged) to 1 (fully replaced)."""

    picture: Tensor
    invented: Tensor


def paste(
    picture: Tensor,
    source: Source,
    patches: Iterable[Patch],
    settings: PasteSettings | None = None,
    faces: Iterable[Face] = (),
) -> Pasted:
    """Pastes restored faces into a photograph; all other pixels stay bit-identical.

    Args:
        picture: [3, H, W], or [4, H, W] whose alpha is kept: the photograph in which the faces were found, or an
            enlargement of it.
        source: the fingerprint of that photograph.
        patches: pasted one at a time, later ones over earlier ones.
        faces: all that are pasted. Where they overlap, each pixel belongs to the nearest face, not to the last one.

    Raises:
        ImageError: another photograph, one that was cropped, a face that is no square, or a mask of another size.
    """
    settings = settings or PasteSettings()
    source.check(picture[:3])
    result = picture.clone() if settings.enlarge == 1 else _enlarged(picture, settings.enlarge)
    invented = torch.zeros_like(result[0])
    everyone = tuple(faces)
    for number, patch in enumerate(patches):
        _check_square(patch.image)
        if settings.color_match:
            quad = patch.face.quad * source.scale_to(picture)
            patch = replace(patch, image=_match_colours(patch.image, picture[:3], quad, settings.color_match))
        scale = source.scale_to(result)
        others = [other.quad * scale for other in everyone if other is not patch.face]
        _paste_patch(result, invented, patch.face.quad * scale, patch, settings, others, number)
    return Pasted(result, invented)


def _check_square(image: Tensor) -> None:
    height, width = image.shape[-2:]
    if height != width:
        raise ImageError(
            f"A restored face is {width}x{height}.",
            "a square: the aligned face, restored, of any size.",
            "if it was stretched, resize it to a square; if it was cropped, take the whole face.",
        )


def _enlarged(picture: Tensor, factor: float) -> Tensor:
    height, width = (round(length * factor) for length in picture.shape[-2:])
    if max(height, width) > _MAX_SIDE:
        raise SettingError(
            f"enlarge is {factor:g}: {picture.shape[-1]}x{picture.shape[-2]} pixels would become {width}x{height}.",
            f"at most {_MAX_SIDE} pixels a side.",
            f"enlarge it by {_MAX_SIDE / max(picture.shape[-2:]):.1f} at most, or shrink the picture first.",
        )
    return resize(picture, height, width).clamp(0, 1)


def _paste_patch(
    result: Tensor,
    invented: Tensor,
    quad: Tensor,
    patch: Patch,
    settings: PasteSettings,
    others: Sequence[Tensor] = (),
    seed: int = 0,
) -> None:
    """Pastes one face into the result, in place.

    Args:
        others: the squares of the other faces. seed: of the grain.
    """
    left, top, right, bottom = bounds_of(quad)
    bounds = max(left, 0), max(top, 0), min(right, result.shape[-1]), min(bottom, result.shape[-2])
    if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
        return
    where = square_coordinates(quad, bounds)
    if patch.mask is None:
        alpha = _square_alpha(where, settings.feather) * _head_alpha(where, settings.feather)
    else:
        alpha = _mask_alpha(patch.mask, patch.image.shape[-1], quad, bounds, result) * _square_alpha(where, 0)
    for other in others:
        if _overlap(bounds_of(other), bounds):
            alpha = alpha * _nearest_alpha(where, square_coordinates(other, bounds))
    alpha = (alpha.to(result.dtype).to(result.device) * settings.blend).clamp(0, 1)
    rows, columns = slice(bounds[1], bounds[3]), slice(bounds[0], bounds[2])
    old = result[:3, rows, columns]
    warped = paste_square(patch.image.to(result), quad, bounds)
    estimate, strength = patch.face.estimate, settings.grain if settings.enlarge == 1 else 0.0
    if estimate is not None and estimate.is_sure and strength:
        warped = _add_blur_and_grain(warped, estimate, strength * side_of(quad) / max(estimate.side, 1), strength, seed)
    # lerp alone would round pixels with alpha 0
    result[:3, rows, columns] = torch.where(alpha > 0, torch.lerp(old, warped, alpha), old)
    invented[rows, columns] = torch.maximum(invented[rows, columns], alpha)


def _overlap(one: Bounds, other: Bounds) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _nearest_alpha(where: Tensor, theirs: Tensor) -> Tensor:
    """[h, w], 1 where a pixel is nearer to the centre of its own face than to the other's, falling smoothly to 0.

    Args:
        where, theirs: [h, w, 2], the pixels in coordinates of the two squares.
    """
    return _smoothstep((_radius(theirs) - _radius(where)) / (2 * _FACE_SEAM) + 0.5)


def _radius(where: Tensor) -> Tensor:
    """[h, w, 2] in a face's square -> [h, w]: distance from the centre, in radii of the face's ellipse."""
    return ((where - where.new_tensor(CENTRE)) / where.new_tensor(RADII)).norm(dim=-1)


def _smoothstep(rise: Tensor) -> Tensor:
    """Smoothstep: 0 below 0, 1 above 1, differentiable."""
    rise = rise.clamp(0, 1)
    return rise * rise * (3 - 2 * rise)


def _add_blur_and_grain(
    warped: Tensor, estimate: DegradationEstimate, scale: float, strength: float, seed: int
) -> Tensor:
    """Adds the estimated blur and grain of the photograph to [3, h, w].

    Args:
        scale: pixels of the result per pixel of the estimate, times the strength.
        strength: of the grain, 0..1. seed: of the grain.
    """
    if estimate.blur * scale > _MIN_BLUR:
        warped = GaussianBlur(min(estimate.blur * scale, 100.0)).forward(warped[None])[0]
    random = torch.Generator().manual_seed(seed)
    grain = torch.randn(warped.shape[-2:], generator=random).to(warped)  # equal in all channels, as film grain
    return (warped + strength * estimate.noise * grain).clamp(0, 1)


def _square_alpha(where: Tensor, feather: float) -> Tensor:
    """1 inside the square, falling smoothly to 0 at its border over `feather` sides."""
    distance = torch.minimum(where, 1 - where)
    if feather == 0:
        return (distance >= 0).all(-1).double()
    return _smoothstep(distance / feather).prod(-1)


def _head_alpha(where: Tensor, feather: float) -> Tensor:
    """1 in the head with its ears, falling smoothly to 0 around it over `feather` sides of the square.

    This leaves out what the generator draws around the head, such as hair on a neighbour's coat.
    """
    if feather == 0:
        return torch.ones_like(where[..., 0])
    width = feather / RADII[0]
    return _smoothstep((_HEAD_RADIUS + width - _radius(where)) / width)


def _mask_alpha(mask: Tensor, side: int, quad: Tensor, bounds: Bounds, result: Tensor) -> Tensor:
    """The user's mask at these pixels of the result. side: of the restored face."""
    height, width = result.shape[-2:]
    same_shape = abs(mask.shape[-1] * height - mask.shape[-2] * width) <= max(height, width, *mask.shape[-2:])
    if mask.shape == (side, side) and mask.shape != (height, width):
        alpha = paste_square(mask[None].to(result), quad, bounds)[0]
    elif same_shape:
        whole = mask if mask.shape == (height, width) else resize(mask[None].to(result), height, width)[0]
        alpha = whole[bounds[1] : bounds[3], bounds[0] : bounds[2]]
    else:
        raise ImageError(
            f"The mask is {mask.shape[-1]}x{mask.shape[-2]}.",
            f"the photograph's {width}x{height}, or the restored face's {side}x{side}.",
            "draw the mask on the photograph or on the restored face.",
        )
    return alpha.cpu().double().clamp(0, 1)  # cpu first: MPS has no float64


def _match_colours(image: Tensor, picture: Tensor, quad: Tensor, strength: float) -> Tensor:
    """Moves mean and standard deviation of each channel towards the photograph's (Reinhard et al. 2001, in RGB).

    Both are computed at the photograph's resolution, so that detail it cannot have does not count as contrast.
    """
    size = max(1, min(_STATISTICS_SIZE, round(side_of(quad))))
    theirs = crop_square(picture, quad, size).to(image)
    ours = resize(image, size, size) if image.shape[-1] > size else image
    (mean, deviation), (wanted, spread) = _statistics(ours), _statistics(theirs)
    contrast = (spread / deviation.clamp(min=1e-4)).clamp(_MIN_CONTRAST, _MAX_CONTRAST)
    return torch.lerp(image, (image - mean) * contrast + wanted, strength).clamp(0, 1)


def _statistics(image: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, std) of the centre of the face, [C, 1, 1] each; the corners are background."""
    side = image.shape[-1]
    middle = image[:, side // 5 : side - side // 5, side // 5 : side - side // 5]
    return middle.mean((1, 2), keepdim=True), middle.std((1, 2), correction=0, keepdim=True)

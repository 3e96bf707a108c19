"""Image files to tensors and back, and the checks of a search's target."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..defaults import own_defaults
from ..errors import ImageError
from ..files import read_regular_file, whole_file
from . import png

if TYPE_CHECKING:
    from ..generators import Generator

NOTICE = "An invented face: this person does not exist. It shows one of many faces that fit, and identifies nobody."

_MAX_BYTES = 2**31


@own_defaults
def read_image(path: Path | str) -> Tensor:
    """A picture file -> [3, H, W] float32 in 0..1, sRGB.

    Applies the EXIF orientation and the colour profile, keeps 16-bit precision, repeats grey, and composites alpha on
    white. `pictures.reading.read_picture` keeps all of that apart.

    Raises:
        ImageError: the file is missing, a directory, not a picture, or damaged.
    """
    from .reading import read_picture  # which imports this file

    return read_picture(path).srgb


def from_pil(image: Image.Image) -> Tensor:
    """Any PIL mode -> [C, H, W] in 0..1 with C of 1, 3 or 4."""
    if image.mode.startswith("I"):  # 16-bit grey, also in PIL's 32-bit mode
        return torch.from_numpy(np.asarray(image, np.float32) / 65535)[None].clamp(0, 1)
    if image.mode == "F":
        return torch.from_numpy(np.array(image, np.float32))[None]
    has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    pixels = np.array(image.convert("RGBA" if has_alpha else "RGB"), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def to_picture(image: Tensor) -> Tensor:
    """A generator's output, [..., C, H, W] of about -1..1, as RGB of about 0..1, not clamped; see `to_rgb`."""
    return to_rgb((image + 1).div_(2))


def to_rgb(image: Tensor) -> Tensor:
    """[..., C, H, W] with C of 1 (grey), 2 (grey and alpha), 3 or 4 (alpha) -> [..., 3, H, W], alpha on white.

    Raises:
        ImageError: another number of channels.
    """
    channels = image.shape[-3]
    if channels not in (1, 2, 3, 4):
        raise ImageError(
            f"The image has {channels} channels.",
            "1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA).",
            "convert it to RGB.",
        )
    if channels in (2, 4):
        colour, alpha = image[..., :-1, :, :], image[..., -1:, :, :]
        image = colour * alpha + (1 - alpha)
    return image if image.shape[-3] == 3 else image.expand(*image.shape[:-3], 3, *image.shape[-2:])


def prepare_target(image: Tensor, generator: Generator, *, any_size: bool = False) -> Tensor:
    """Checks a batch of targets for a search with this generator.

    Args:
        image: [B, C, h, w] or [C, h, w] in 0..1.
        any_size: skips the check of the size, for a degradation with its own output size.

    Returns: [B, 3, h, w].

    Raises:
        ImageError: empty, not finite, not of the generator's aspect ratio, or larger than the generator's image.
    """
    if image.ndim == 3:
        image = image[None]
    if image.ndim != 4 or image.numel() == 0:
        raise ImageError(
            f"The target has the shape {list(image.shape)}.", "[B, C, h, w] with at least one image.", "give a picture."
        )
    image = to_rgb(image)
    check_colours(image)
    if not any_size:
        _check_size(image.shape[-2], image.shape[-1], generator)
    return image


def check_colours(image: Tensor) -> None:
    """Checks that the values are colours.

    Raises:
        ImageError: NaN, infinite, or far outside 0..1.
    """
    if not bool(torch.isfinite(image).all()):
        raise ImageError(
            "The picture holds NaN or infinite values.",
            "colours in 0..1.",
            "check the node or the file that it comes from.",
        )
    low, high = (float(end) for end in torch.aminmax(image))
    if low < -0.5 or high > 1.5:
        raise ImageError(
            f"The picture's values run from {low:.3g} to {high:.3g}.",
            "colours in 0..1.",
            "divide 8-bit values by 255.",
        )


def _check_size(height: int, width: int, generator: Generator) -> None:
    full_height, full_width = generator.size
    name = f"{generator.name} makes {full_width}x{full_height}"
    found = f"The target is {width}x{height}; {name}."
    if height * full_width != width * full_height:
        shape = "a square" if full_height == full_width else f"the ratio {full_width}:{full_height}"
        raise ImageError(
            found, f"{shape}.", "crop it to the face first (PULSE Align Faces, `photo`); do not stretch it."
        )
    if width > full_width:
        raise ImageError(found, "at most the generator's size.", "downscale it first, for example to 32x32.")


def to_pil(image: Tensor) -> Image.Image:
    """[3, H, W] in 0..1 -> an 8-bit RGB image, rounded to nearest."""
    pixels = image.detach().float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.cpu().numpy(), "RGB")


@own_defaults
def save_image(
    image: Tensor | np.ndarray | Image.Image,
    path: Path | str,
    metadata: Mapping[str, Any] | None = None,
    *,
    profile: bytes | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes a PNG atomically, with the notice and the metadata in its text chunks.

    Args:
        image: [3, H, W] in 0..1, or a numpy array [H, W, C] of uint8 or in 0..1; a PIL image is written as it is.
        metadata: written as JSON, for `read_metadata`.
        texts: further text chunks, by name.
        profile: the ICC profile of its colours; None is sRGB.
    """
    from .arrays import as_tensor  # which imports this file

    picture = image if isinstance(image, Image.Image) else to_pil(to_rgb(as_tensor(image)))
    kept = [png.text_chunk(name, value) for name, value in (texts or {}).items()]
    save_pixels(np.atleast_3d(np.asarray(picture)), path, metadata, profile=profile, kept=kept)


def save_pixels(
    pixels: np.ndarray,
    path: Path | str,
    metadata: Mapping[str, Any] | None = None,
    *,
    profile: bytes | None = None,
    kept: Iterable[png.Chunk] = (),
) -> None:
    """As `save_image`, for pixels [H, W, C] of uint8 or uint16, grey and alpha included, and with further chunks."""
    extra = [*kept, png.text_chunk("Comment", NOTICE)]
    if profile is not None:
        extra.insert(0, png.profile_chunk(profile))
    if metadata is not None:
        extra.append(png.text_chunk("pulse", json.dumps(dict(metadata))))
    data = png.encode(pixels, extra)
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def read_metadata(path: Path) -> dict[str, Any] | None:
    """The metadata that `save_image` wrote; None if the file is missing, damaged or has none."""
    metadata = None
    try:
        for chunk in png.chunks(read_regular_file(path, _MAX_BYTES), strict=True):
            if chunk.kind == b"tEXt" and chunk.keyword == b"pulse":
                metadata = json.loads(png.text_of(chunk, _MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return metadata if isinstance(metadata, dict) else None

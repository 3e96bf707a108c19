"""Colour spaces: from the one of a file's ICC profile to sRGB, in which everything is computed, and back.

littleCMS converts, as Pillow brings it along, with 8 bits a channel: relative colorimetric, black point compensated.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of R, G, B: Rec. 601, as in JPEG
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # littleCMS's names -> Pillow's modes


class ColourSpace:
    """The colour space of a picture.

    Args:
        channels: 1 (grey) or 3.
        profile: the ICC profile of the file, which results carry again.
        to_srgb, from_srgb: littleCMS's transforms; None where the colours are sRGB already.
    """

    def __init__(self, channels: int, profile: bytes | None = None, to_srgb: Any = None, from_srgb: Any = None):
        self.channels, self.profile = channels, profile
        self._to_srgb, self._from_srgb = to_srgb, from_srgb

    @property
    def is_srgb(self) -> bool:
        """Whether nothing is to be converted."""
        return self._to_srgb is None

    def to_srgb(self, colours: Tensor) -> Tensor:
        """[C, H, W] in 0..1 -> sRGB, [3, H, W]."""
        if self._to_srgb is None:
            return colours.expand(3, -1, -1)
        return _transformed(colours, self._to_srgb)

    def from_srgb(self, image: Tensor) -> Tensor:
        """sRGB, [3, H, W] in 0..1 -> [C, H, W]."""
        if self._from_srgb is not None:
            return _transformed(image.clamp(0, 1), self._from_srgb)
        return image if self.channels == 3 else luma(image)


def luma(image: Tensor) -> Tensor:
    """[3, H, W] -> [1, H, W]."""
    return (image * image.new_tensor(LUMA)[:, None, None]).sum(0, keepdim=True)


def colour_space(channels: int, profile: bytes | None) -> tuple[ColourSpace, str]:
    """The colour space of pixels of 1 or 3 channels, and what is to be said about it.

    A profile that is damaged, or of other channels, is kept but not applied.
    """
    if profile is None:
        return ColourSpace(channels), ""
    plain, mode = ColourSpace(channels, profile), "L" if channels == 1 else "RGB"
    if not features.check("littlecms2"):
        return plain, "its colour profile is not applied, as this Pillow has no littleCMS"
    from PIL import ImageCms

    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        theirs = _SPACES.get(given.profile.xcolor_space.strip())
        if theirs != mode:
            if (theirs, mode) == ("RGB", "L"):
                return plain, ""  # equal channels are grey in any RGB
            return plain, f"its colour profile is not applied, as it is not for {mode}"
        if _is_identity(given, mode):
            return plain, ""
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        there, back = _transform(given, srgb, mode, "RGB"), _transform(srgb, given, "RGB", mode)
        return ColourSpace(channels, profile, there, back), ""
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return plain, f"its colour profile is not usable and not applied ({str(error)[:80]})"


def converted(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A CMYK or Lab picture as sRGB, by its profile if it has a usable one."""
    if features.check("littlecms2"):
        from PIL import ImageCms

        try:
            if image.mode == "LAB":
                given = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            elif profile is not None:
                given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            else:
                return image.convert("RGB")
            srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
            result = ImageCms.applyTransform(image, _transform(given, srgb, image.mode, "RGB"))
            if result is not None:
                return result
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # without a usable profile: as Pillow converts
    return image.convert("RGB")


def _transform(source: Any, target: Any, source_mode: str, target_mode: str) -> Any:
    from PIL import ImageCms

    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.buildTransform(source, target, source_mode, target_mode, intent, flags)


def _is_identity(given: Any, mode: str) -> bool:
    """Whether the profile is one of the many of sRGB itself: no colour of a grid moves by more than rounding."""
    from PIL import ImageCms

    if mode != "RGB":
        return False
    levels = np.linspace(0, 255, 18).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(18, -1, 3)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    moved = ImageCms.applyTransform(Image.fromarray(grid), _transform(given, srgb, "RGB", "RGB"))
    return int(np.abs(np.asarray(moved).astype(int) - grid).max()) <= 1


def _transformed(colours: Tensor, transform: Any) -> Tensor:
    """[1 or 3, H, W] -> [1 or 3, H, W], in 8 bits."""
    from PIL import ImageCms

    pixels = colours.detach().float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
    result = np.array(ImageCms.applyTransform(image, transform), np.float32) / 255
    return torch.from_numpy(result.reshape(*result.shape[:2], -1)).permute(2, 0, 1).contiguous().to(colours.device)

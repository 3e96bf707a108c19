"""Picture files -> `Picture`. The one place where picture files are opened."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image

from ..errors import ImageError
from ..files import read_regular_file
from . import exif, png
from .colour import ColourSpace, colour_space, converted
from .images import NOTICE
from .picture import Picture

# Those that Pillow decodes by itself and within bounds. Others start a program (EPS, WMF), decompress without a limit
# (FITS), or cannot be told from anything else.
FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "DIB", "JPEG2000", "PPM", "TGA", "QOI", "DDS"),
    *("ICO", "ICNS", "CUR", "PSD", "PCX", "DCX", "SGI", "SUN", "XBM", "XPM", "BLP", "FLI", "FTEX", "GBR", "IM"),
    *("MSP", "PCD", "PIXAR"),
)
_ACCEPTED = "PNG, JPEG, WebP, AVIF, TIFF, GIF, BMP or another picture that Pillow decodes by itself."
_ANIMATED = ("PNG", "GIF", "WEBP", "AVIF", "FLI", "TIFF", "DCX")  # further pictures of others are no frames
_MAX_PIXELS = 178_956_970  # Pillow's limit too
_MAX_BYTES = 2**31
_MAX_TEXT, _MAX_TEXTS, _MAX_PROFILE = 2**20, 2**24, 2**24  # bytes
_DROPPED = (b"iCCP", b"acTL", b"fcTL", b"fdAT", b"tIME", b"sPLT", b"eXIf")  # read here, or by nobody
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_COPIED = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"pHYs", *_TEXTS)
_EXIF_TEXTS = (b"Raw profile type exif", b"Raw profile type APP1")
_XMP = b"XML:com.adobe.xmp"
_SWAPPED = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
# Whatever Pillow's readers raise on damaged files, and no more: an interrupt of the host goes through.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, AssertionError),
    *(EOFError, RuntimeError, MemoryError, BufferError, struct.error, zlib.error, Image.DecompressionBombError),
)


@dataclass(frozen=True)
class PictureFile:
    """The bytes of a picture file, not decoded yet.

    digest: their SHA-256.
    """

    path: Path
    data: bytes
    digest: str

    @classmethod
    def read(cls, path: Path | str) -> PictureFile:
        """Reads a file, whatever it is a picture of.

        Raises:
            ImageError: it is missing, no regular file, or not readable.
        """
        path = Path(path)
        try:
            data = read_regular_file(path, _MAX_BYTES)
        except FileNotFoundError:
            what = "is a link to a file that does not exist" if os.path.islink(path) else "does not exist"
            raise ImageError(f"{path} {what}.", "the path of a picture file.", "check the path.") from None
        except OSError as error:
            reason = error.strerror or str(error)
            what = "is a directory" if os.path.isdir(path) else f"cannot be opened ({reason})"
            raise ImageError(f"{path} {what}.", "the path of a picture file.", "check the path.") from error
        return cls(path, data, hashlib.sha256(data).hexdigest())

    def decode(self) -> Picture:
        """The picture.

        Raises:
            ImageError: it is damaged, of another format, too large, or its values are no colours.
        """
        try:
            with warnings.catch_warnings():  # of Pillow, about damaged details and large pictures
                warnings.simplefilter("ignore")
                return _Decoder(self).picture()
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            pixels = re.search(r"\((\d+) pixels\)", str(error))
            self._too_large(int(pixels[1]) if pixels else 2 * _MAX_PIXELS, "")
        except _UNREADABLE as error:
            found, remedy = _known_stranger(self.data) or (_one_line(error), "save it again in one of these.")
            raise ImageError(f"{self.path} cannot be read as a picture ({found}).", _ACCEPTED, remedy) from error

    def check_size(self, width: int, height: int) -> None:
        """Raises ImageError for too many pixels."""
        if width * height > _MAX_PIXELS:
            self._too_large(width * height, f"{width}x{height}, ")

    def _too_large(self, pixels: int, size: str) -> NoReturn:
        factor = (_MAX_PIXELS / pixels) ** 0.5
        raise ImageError(
            f"{self.path} has {size}{pixels / 1e6:.0f} megapixels.",
            f"{_MAX_PIXELS / 1e6:.0f} megapixels at most.",
            f"downscale it to {100 * factor:.0f}% of its width or less, or crop it to the faces.",
        )


def read_picture(path: Path | str) -> Picture:
    """Reads and decodes a picture file; for the errors see PictureFile."""
    return PictureFile.read(path).decode()


@lru_cache(maxsize=1)
def suffixes() -> dict[str, str]:
    """Format by suffix, of all that can be read."""
    return {suffix: name for suffix, name in Image.registered_extensions().items() if name in FORMATS}


class _Decoder:
    """Decodes one file. Its methods are called within `PictureFile.decode`, which names errors."""

    def __init__(self, source: PictureFile):
        self.source, self.notes = source, list[str]()
        self.profile: bytes | None = None
        self.exif = self.xmp = b""
        self.copied: list[png.Chunk] = []
        self.frames = 1
        self.data = self._without_texts() if source.data.startswith(png.SIGNATURE) else source.data

    def picture(self) -> Picture:
        """Decodes the pixels, and collects the rest."""
        with closing(self._opened()) as file:
            self.source.check_size(*file.size)
            self._count_frames(file.format)
            if self.source.data[:8] != png.SIGNATURE:
                self.profile = self._bytes_of(file, "icc_profile")
            file.load()
            turn = _TURNS.get(self._orientation(file))
            self._collect(file)
            pixels, space = self._pixels(file)
        if turn is not None:
            pixels = turn(pixels)
        depth = 8 if pixels.dtype == np.uint8 else 16
        top = {np.uint8: 255, np.uint16: 65535}.get(pixels.dtype.type, 1)
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0), np.float32))
        kept = tuple(self._kept())
        return Picture(tensor.div_(top), depth, space, self.source.digest, tuple(self.notes), kept)

    def _opened(self) -> Any:
        Image.init()
        suffix = self.source.path.suffix.lower()
        # Formats without a signature take anything, so that their suffix has to say so.
        signed = (name for name in FORMATS if name in Image.OPEN)
        formats = [name for name in signed if Image.OPEN[name][1] is not None or suffixes().get(suffix) == name]
        return Image.open(io.BytesIO(self.data), formats=formats)

    def _without_texts(self) -> bytes:
        """A PNG file without what Pillow refuses good pictures for, and takes from there what is to be kept."""
        total = 0
        for chunk in png.chunks(self.source.data):
            total += len(chunk.data) if chunk.kind in _COPIED else 0
            if chunk.kind == b"iCCP":
                self.profile = png.profile_of(chunk, _MAX_PROFILE)
                if self.profile is None:
                    self.notes.append("its colour profile is damaged or too long, and not applied")
            elif chunk.kind == b"acTL" and len(chunk.data) >= 4:
                self.frames = int.from_bytes(chunk.data[:4], "big")
            elif chunk.kind == b"eXIf":
                self.exif = chunk.data
            elif chunk.kind in _TEXTS and chunk.keyword == _XMP and len(chunk.data) <= _MAX_TEXT:
                self.xmp = png.text_of(chunk, _MAX_TEXT)
            elif chunk.kind in _TEXTS and chunk.keyword in _EXIF_TEXTS:
                self.exif = self.exif or _exif_in_text(chunk)
            elif chunk.kind in _COPIED and total < _MAX_TEXTS and not _is_ours(chunk):
                self.copied.append(chunk)
        return png.without(self.source.data, (*_DROPPED, *_TEXTS))

    def _count_frames(self, name: str) -> None:
        if name in _ANIMATED and name != "PNG":
            try:
                with closing(self._opened()) as file:  # of its own, as damaged frames may leave it anywhere
                    self.frames = int(getattr(file, "n_frames", 1))
            except _UNREADABLE:
                self.notes.append("it has damaged frames; the first is used")
        if self.frames > 1:
            self.notes.append(f"it has {self.frames} frames; the first is used")

    def _orientation(self, file: Any) -> int:
        """After loading, as Pillow turns some TIFF files itself."""
        if self.exif:
            file.info["exif"] = self.exif
        if self.xmp:
            file.info["xmp"] = self.xmp
        try:
            value = file.getexif().get(exif.ORIENTATION, 1)
        except _UNREADABLE:
            return 1
        return value if isinstance(value, int) else 1

    def _collect(self, file: Any) -> None:
        """EXIF, XMP and resolution."""
        self.exif = self.exif or self._bytes_of(file, "exif") or b""
        self.xmp = self.xmp or self._bytes_of(file, "xmp") or b""
        if file.format == "TIFF" and not self.exif:
            try:
                self.exif = exif.of_tiff(file.getexif())
            except _UNREADABLE:
                self.notes.append("its date and place are damaged, and not kept")
        dpi = file.info.get("dpi")
        if file.format != "PNG" and isinstance(dpi, tuple) and len(dpi) == 2:
            across, down = (float(each) for each in dpi)
            if 0 < across < 1e6 and 0 < down < 1e6:  # not NaN either
                self.copied.append(png.resolution_chunk((across, down)))

    @staticmethod
    def _bytes_of(file: Any, name: str) -> bytes | None:
        value = file.info.get(name)
        return value if isinstance(value, bytes) and value else None

    def _kept(self) -> list[png.Chunk]:
        """The chunks for a result."""
        kept = [each for each in self.copied if not (self.profile and each.kind in (b"sRGB", b"gAMA", b"cHRM"))]
        if block := exif.upright(self.exif):
            kept.append(png.Chunk(b"eXIf", block))
        if self.xmp and len(self.xmp) <= _MAX_TEXT:
            kept.append(png.Chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + exif.upright_xmp(self.xmp)))
        return kept

    def _pixels(self, file: Any) -> tuple[np.ndarray, ColourSpace]:
        """[H, W, C] uint8, uint16, or float32 in 0..1, and their colour space."""
        if file.mode in ("CMYK", "LAB"):
            self.notes.append(f"it is {file.mode}, which PNG has not; the result is sRGB")
            return np.asarray(converted(file, self.profile)), ColourSpace(3)
        if file.mode.startswith("I") or file.mode == "F":
            pixels = self._numbers(file)
        else:
            sixteen = self._sixteen_bits(file)
            pixels = np.atleast_3d(np.asarray(_plain(file))) if sixteen is None else sixteen
        channels = 1 if pixels.shape[-1] < 3 else 3
        space, note = colour_space(channels, self.profile)
        if note:
            self.notes.append(note)
        return pixels, space

    def _numbers(self, file: Any) -> np.ndarray:
        """Grey of 16 bits, also in 32-bit integers, and of floating-point numbers."""
        values = np.asarray(file)
        low, high = values.min(), values.max()
        if file.mode == "F":
            if not (np.isfinite(low) and np.isfinite(high) and low >= -0.5 and high <= 1.5):
                raise ImageError(
                    f"{self.source.path} has floating-point values from {low:.6g} to {high:.6g}.",
                    "0 (black) to 1 (white).",
                    "divide them by their range (8-bit values by 255), or save it with 8 or 16 bits.",
                )
            return values.astype(np.float32)[..., None]
        if low < 0 or high > 65535:
            raise ImageError(
                f"{self.source.path} has 32-bit integers from {low} to {high}.",
                "0 (black) to 65535 (white).",
                "save it with 8 or 16 bits a channel.",
            )
        grey = values.astype(np.uint16)[..., None]
        key = file.info.get("transparency")
        return _keyed(grey, (key,)) if isinstance(key, int) else grey

    def _sixteen_bits(self, file: Any) -> np.ndarray | None:
        """[H, W, C] uint16 of a PNG or TIFF file with 16 bits of colour; None for any other.

        Pillow takes the high bytes of such files. Told that the bytes are in the other order, it takes the low ones.
        """
        if file.format not in ("PNG", "TIFF", "PPM"):
            return None
        with closing(self._opened()) as again:
            if file.format == "PPM":
                return self._wide_ppm(again)
            modes = {_raw_mode(tile) for tile in again.tile}
            mode = modes.pop() if len(modes) == 1 else ""
            if mode == "LA;16B":
                again.tile = [_with_raw_mode(tile, "RGBA") for tile in again.tile]
                again.load()
                return np.ascontiguousarray(np.asarray(again)).view(">u2").astype(np.uint16)
            if not mode.startswith(("RGB;16", "RGBA;16", "RGBX;16")):
                if ";16" in mode:
                    self.notes.append(f"its 16 bits a channel ({mode}) are read as 8")
                return None
            other = mode[:-4] + _SWAPPED[mode[-4:]]
            again.tile = [_with_raw_mode(tile, other) for tile in again.tile]
            again.load()
            high, low = np.asarray(file, np.uint16), np.asarray(again, np.uint16)
        pixels = high << 8 | low
        key = file.info.get("transparency")
        return _keyed(pixels, key) if isinstance(key, tuple) and pixels.shape[-1] == 3 else pixels

    def _wide_ppm(self, file: Any) -> np.ndarray | None:
        """[H, W, 3] uint16 of a PPM file with more than 8 bits, whose numbers follow its header as they are."""
        name, _, offset, arguments = file.tile[0][:4]
        top = arguments[-1] if isinstance(arguments, tuple) else 0
        if name != "ppm" or file.mode != "RGB" or top < 256:
            return None
        values = np.frombuffer(self.data, ">u2", 3 * file.width * file.height, offset)
        wide = values.astype(np.uint32) * 65535 // np.uint32(top)
        return wide.clip(max=65535).astype(np.uint16).reshape(file.height, file.width, 3)


def _raw_mode(tile: Any) -> str:
    arguments = tile[3]
    return str(arguments if isinstance(arguments, str) else arguments[0]) if arguments else ""


def _with_raw_mode(tile: Any, mode: str) -> Any:
    arguments = mode if isinstance(tile[3], str) else (mode, *tile[3][1:])
    return type(tile)(*tile[:3], arguments) if hasattr(tile, "_fields") else (*tile[:3], arguments)


def _keyed(pixels: np.ndarray, key: tuple[int, ...]) -> np.ndarray:
    """Adds an alpha channel that is 0 where the pixels have the key colour."""
    alpha = np.where((pixels == np.array(key, pixels.dtype)).all(-1, keepdims=True), 0, 65535)
    return np.concatenate([pixels, alpha.astype(pixels.dtype)], -1)


def _plain(image: Image.Image) -> Image.Image:
    """L, LA, RGB or RGBA."""
    if image.mode in ("1", "L"):
        return image.convert("LA" if "transparency" in image.info else "L")
    if image.mode in ("LA", "La"):
        return image.convert("LA")
    has_alpha = image.mode in ("RGBA", "PA", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")


def _exif_in_text(chunk: png.Chunk) -> bytes:
    """The EXIF block that older programs wrote as a text of hexadecimal digits."""
    lines = png.text_of(chunk, _MAX_TEXT).decode("latin-1").split("\n")
    try:
        return bytes.fromhex("".join(lines[3:]))
    except ValueError:
        return b""


def _is_ours(chunk: png.Chunk) -> bool:
    """Whether the text says what an earlier result of ours is, which a new one says anew."""
    is_notice = chunk.keyword == b"Comment" and chunk.data.endswith(NOTICE.encode())
    return chunk.kind in _TEXTS and (chunk.keyword == b"pulse" or is_notice)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return "no picture" if isinstance(error, Image.UnidentifiedImageError) else text or type(error).__name__


def _known_stranger(data: bytes) -> tuple[str, str] | None:
    """(what it is, what to do) for a file of a format that cannot be read."""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"heim", b"heis"):
        return "it is HEIC", HEIC_REMEDY
    if data[:4] in (b"%!PS", b"\xc5\xd0\xd3\xc6"):
        return "it is PostScript, which only a program could draw", "export it as PNG."
    if data[:4] == b"%PDF":
        return "it is a PDF", "export its pictures as PNG."
    if b"<svg" in data[:1000]:
        return "it is SVG", "export it as PNG."
    return None


HEIC_REMEDY = "convert it to JPEG or PNG, for example with `heif-convert in.heic out.jpg`."

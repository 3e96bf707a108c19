"""PNG files: their chunks and texts, and pixels of 8 and 16 bits.

Pillow neither writes 16 bits of colour nor keeps chunks that it does not know, so files are put together here.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_MAX_CHUNK = 2**31 - 1


class Chunk(NamedTuple):
    """A chunk: its type and its data."""

    kind: bytes
    data: bytes

    @property
    def keyword(self) -> bytes:
        """Of a text or profile: what comes before the first zero."""
        return self.data[:80].partition(b"\0")[0]


def chunks(data: bytes, *, strict: bool = False) -> Iterator[Chunk]:
    """The chunks of a file. One that is cut off or damaged is the last, unless `strict`.

    Raises:
        ValueError: with `strict`, the file is not whole: a wrong checksum, or no end.
    """
    view, position = memoryview(data), len(SIGNATURE)
    whole, kind = data.startswith(SIGNATURE), b""
    while whole and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position) if position + 12 <= len(data) else (_MAX_CHUNK, b"")
        end = position + 8 + length
        whole = end + 4 <= len(data)
        if whole and strict:
            whole = zlib.crc32(view[position + 4 : end]) == struct.unpack_from(">I", data, end)[0]
        if whole:
            yield Chunk(kind, bytes(view[position + 8 : end]))
        position = end + 4
    if strict and not whole:
        raise ValueError("the PNG file is not whole")


def without(data: bytes, dropped: Iterable[bytes]) -> bytes:
    """The file without the chunks of these types; what is damaged stays as it is, with its checksum."""
    dropped, view, position, parts = frozenset(dropped), memoryview(data), len(SIGNATURE), [SIGNATURE]
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind not in dropped:
            parts.append(bytes(view[position:end]))
        position = end
    return b"".join([*parts, data[position:]])


def inflated(data: bytes, limit: int) -> bytes | None:
    """zlib data, inflated; None if it is damaged or has more than `limit` bytes."""
    stream = zlib.decompressobj()
    try:
        result = stream.decompress(data, limit)
    except zlib.error:
        return None
    return result if stream.eof else None


def profile_of(chunk: Chunk, limit: int) -> bytes | None:
    """The ICC profile in an iCCP chunk; None if it is damaged or too long."""
    return inflated(chunk.data.partition(b"\0")[2][1:], limit)


def profile_chunk(profile: bytes) -> Chunk:
    """An ICC profile as a chunk."""
    return Chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))


def text_chunk(keyword: str, text: str) -> Chunk:
    """A text as a chunk: tEXt where Latin-1 has all its letters, iTXt elsewhere."""
    name = keyword.encode("latin-1", "replace")[:79].strip()
    try:
        return Chunk(b"tEXt", name + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return Chunk(b"iTXt", name + b"\0\0\0\0\0" + text.encode("utf-8", "replace"))


def text_of(chunk: Chunk, limit: int) -> bytes:
    """The text of a tEXt, zTXt or iTXt chunk, not decoded; empty if it is damaged or too long."""
    rest = chunk.data.partition(b"\0")[2]
    is_compressed = chunk.kind == b"zTXt"
    if chunk.kind == b"iTXt":
        is_compressed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif is_compressed:
        rest = rest[1:]
    return (inflated(rest, limit) or b"") if is_compressed else rest[:limit]


def resolution_chunk(dpi: tuple[float, float]) -> Chunk:
    """Pixels per inch as a chunk, which counts them per metre."""
    across, down = (max(1, min(_MAX_CHUNK, round(each / 0.0254))) for each in dpi)
    return Chunk(b"pHYs", struct.pack(">IIB", across, down, 1))


def encode(pixels: np.ndarray, extra: Iterable[Chunk] = ()) -> bytes:
    """[H, W, C] uint8 or uint16, C of 1 (grey), 2 (grey and alpha), 3 or 4 -> a PNG file with further chunks."""
    parts = _encoded16(pixels) if pixels.dtype == np.uint16 else _encoded8(pixels)
    header, *rest = parts
    return SIGNATURE + b"".join(_written(each) for each in (header, *extra, *rest))


def _written(chunk: Chunk) -> bytes:
    body = chunk.kind + chunk.data
    return struct.pack(">I", len(chunk.data)) + body + struct.pack(">I", zlib.crc32(body))


def _encoded8(pixels: np.ndarray) -> list[Chunk]:
    file = io.BytesIO()
    plain = np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    Image.fromarray(plain, _MODES[pixels.shape[-1]]).save(file, "PNG")
    return list(chunks(file.getvalue()))


def _encoded16(pixels: np.ndarray) -> list[Chunk]:
    height, width, channels = pixels.shape
    size = 2 * channels
    rows = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8).reshape(height, width * size)
    filtered = np.empty((height, 1 + width * size), np.uint8)
    filtered[:, 0] = 1  # Sub: each byte minus that of the pixel to the left
    filtered[:, 1 : 1 + size] = rows[:, :size]
    filtered[:, 1 + size :] = rows[:, size:] - rows[:, :-size]
    header = struct.pack(">IIBBBBB", width, height, 16, _TYPES[channels], 0, 0, 0)
    return [
        Chunk(b"IHDR", header),
        Chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6)),
        Chunk(b"IEND", b""),
    ]

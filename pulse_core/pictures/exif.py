"""EXIF: which way up a picture is, and the data to keep."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

ORIENTATION = 0x0112
_HEADER = b"Exif\0\0"  # of JPEG's block, which PNG does without
_KEPT = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)  # of a TIFF file: texts, camera, date, author
_IFDS = (0x8769, 0x8825)  # the camera's settings, and the place
_SHORT = 3
_XMP = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")


def upright(block: bytes) -> bytes:
    """An EXIF block without JPEG's header, and with the orientation "upright"; all else stays as it is."""
    body = bytearray(block.removeprefix(_HEADER))
    order = {b"II": "<", b"MM": ">"}.get(bytes(body[:2]))
    if order is None:
        return b""
    for place in _entries(body, order):
        tag, kind, count = struct.unpack_from(order + "HHI", body, place)
        if (tag, kind, count) == (ORIENTATION, _SHORT, 1):
            struct.pack_into(order + "H", body, place + 8, 1)
    return bytes(body)


def upright_xmp(packet: bytes) -> bytes:
    """An XMP packet with the orientation "upright"."""
    return _XMP.sub(rb"\g<1>1", packet)


def of_tiff(exif: object) -> bytes:
    """The EXIF block of a TIFF file, whose tags are those of the file: without the ones about its pixels."""
    from PIL import Image

    kept = Image.Exif()
    for tag in _KEPT:
        if tag in exif:  # type: ignore[operator]
            kept[tag] = exif[tag]  # type: ignore[index]
    for tag in _IFDS:
        if values := exif.get_ifd(tag):  # type: ignore[attr-defined]
            kept.get_ifd(tag).update(values)
            kept[tag] = values
    return kept.tobytes().removeprefix(_HEADER) if len(kept) else b""


def _entries(body: bytearray, order: str) -> Iterator[int]:
    """Where each entry of the first directory begins."""
    if len(body) < 8:
        return
    (start,) = struct.unpack_from(order + "I", body, 4)
    if start + 2 > len(body):
        return
    (count,) = struct.unpack_from(order + "H", body, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if place + 12 > len(body):
            return
        yield place

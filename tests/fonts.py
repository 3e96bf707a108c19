"""A TrueType font with the characters that a test wants, each a triangle; its box for all others is a square."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

_EM = 1000


def write_font(path: Path, characters: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = sorted(map(ord, characters))
    square, triangle = [(100, 0), (100, 900), (800, 900), (800, 0)], [(100, 0), (450, 800), (800, 0)]
    outlines = [_outline(square), *[_outline(triangle)] * len(codes)]
    tables = {
        b"cmap": _cmap(codes),
        b"glyf": b"".join(outlines),
        b"head": struct.pack(
            ">IIIIHHqqhhhhHHhhh", 0x10000, 0, 0, 0x5F0F3CF5, 0, _EM, 0, 0, 0, 0, _EM, _EM, 0, 8, 2, 1, 0
        ),
        b"hhea": struct.pack(">IhhhHhhhhhhhhhhhH", 0x10000, 900, -100, 0, 900, 0, 0, 0, 1, *[0] * 7, len(outlines)),
        b"hmtx": struct.pack(">Hh", 900, 100) * len(outlines),
        b"loca": struct.pack(
            f">{len(outlines) + 1}I", *(sum(map(len, outlines[:n])) for n in range(len(outlines) + 1))
        ),
        b"maxp": struct.pack(">IH13H", 0x10000, len(outlines), 4, 1, *[0] * 11),
    }
    path.write_bytes(_file(tables))
    return path


def _outline(points: list[tuple[int, int]]) -> bytes:
    head = struct.pack(">hhhhhHH", 1, 0, 0, _EM, _EM, len(points) - 1, 0)
    steps = [[b - a for a, b in zip([0, *axis], axis, strict=False)] for axis in zip(*points, strict=True)]
    body = bytes([1] * len(points)) + b"".join(struct.pack(f">{len(points)}h", *each) for each in steps)
    return (head + body).ljust(-(-len(head + body) // 4) * 4, b"\0")


def _cmap(codes: list[int]) -> bytes:
    groups = b"".join(struct.pack(">III", code, code, number) for number, code in enumerate(codes, 1))
    return struct.pack(">HHHHI HHIII", 0, 1, 3, 10, 12, 12, 0, 16 + len(groups), 0, len(codes)) + groups


def _file(tables: dict[bytes, bytes]) -> bytes:
    start, head, body = 12 + 16 * len(tables), struct.pack(">IHHHH", 0x10000, len(tables), 64, 2, 0), b""
    for name, data in tables.items():
        head += struct.pack(">4sIII", name, 0, start + len(body), len(data))
        body += data.ljust(-(-len(data) // 4) * 4, b"\0")
    return head + body

"""torch.save files: the zip layout, and the legacy layout of torch before 1.6."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ..errors import CheckpointError
from .other_formats import of_archive
from .pickle_machine import Machine
from .stored import Span
from .torch_legacy import MAGIC, read_legacy
from .tree import Content, content_of
from .vocabulary import CheckpointWords

NAME = "PyTorch"
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")

_ZIP = b"PK\x03\x04"
_LOCAL_HEADER = "<4s5H3L2H"  # of a zip entry; its last two numbers are the lengths of the name and of what follows it
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x06"  # the records behind a zip's directory
_END_LENGTH, _MAX_COMMENT = 22, 1 << 16
_MAX_DIRECTORY = 1 << 22  # bytes; a training checkpoint of 5,000 tensors has 0.5 MB
_MAX_ORDER = 16  # bytes of the record "byteorder"
_DAMAGED_ZIP = (
    zipfile.BadZipFile,
    NotImplementedError,
    EOFError,
    OSError,
    struct.error,
    OverflowError,
    UnicodeDecodeError,
    ValueError,
)


def recognises(head: bytes) -> bool:
    """A zip archive, or the magic number of the legacy layout."""
    return head.startswith((_ZIP, MAGIC))


def read(path: Path) -> Content:
    """The tensors and plain values of the saved object; see tree.py."""
    words = CheckpointWords({})
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            item = _read_zip(file, path, words)
        else:
            item = read_legacy(file, path, Span(path, 0, path.stat().st_size), words)
    return content_of(path, item, tuple(words.unknown))


def _read_zip(file: BinaryIO, path: Path, words: CheckpointWords) -> Any:
    """NAME/data.pkl is the pickle; NAME/data/KEY are the storages."""
    infos = _directory(file, path)
    names = [info.filename for info in infos]
    roots = {name.removesuffix("data.pkl") for name in names if name == "data.pkl" or name.endswith("/data.pkl")}
    root = next(iter(roots)) if len(roots) == 1 else None
    other = of_archive(names) if not roots or f"{root}constants.pkl" in names else None
    if other is not None:
        raise CheckpointError(f"{path} is {other[0]}.", "a checkpoint that torch.save wrote.", other[1])
    if root is None:
        _damaged(path, "it is a zip archive, but not one that torch.save writes")
    spans = _entries(file, path, infos)
    order = spans.get(f"{root}byteorder")
    if order is not None and (order.length > _MAX_ORDER or order.read() != b"little"):
        _damaged(path, "its numbers are in the byte order of another kind of machine")
    pickled = spans[f"{root}data.pkl"]
    item = Machine(file, path, pickled.start, pickled.start + pickled.length, words).run()
    for key, storage in (words.storages or {}).items():
        span = spans.get(f"{root}data/{key}")
        if span is None or span.length != storage.length * storage.dtype.itemsize:
            _damaged(path, f"the numbers of its tensor {key[:20]!a} are missing or of another length")
        storage.span = span
    return item


def _directory(file: BinaryIO, path: Path) -> list[zipfile.ZipInfo]:
    """The entries of the archive. The size of its directory is checked before it is read."""
    size = path.stat().st_size
    start = max(0, size - _END_LENGTH - _MAX_COMMENT)
    file.seek(start)
    tail = file.read(size - start)
    at, at_64 = tail.rfind(_END), tail.rfind(_END_64)
    lengths = [int.from_bytes(tail[at + 12 : at + 16], "little")] if at >= 0 else []
    if at_64 >= 0:
        lengths = [n for n in lengths if n != 0xFFFFFFFF] + [int.from_bytes(tail[at_64 + 40 : at_64 + 48], "little")]
    if any(length > min(size, _MAX_DIRECTORY) for length in lengths):
        _damaged(path, f"its zip directory would have {max(lengths):,} bytes")
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except _DAMAGED_ZIP as error:
        raise _damaged_error(path, f"its zip directory cannot be read ({error})") from error


def _entries(file: BinaryIO, path: Path, infos: Sequence[zipfile.ZipInfo]) -> dict[str, Span]:
    """Where each entry of the archive lies. torch never compresses, and nothing is ever unpacked here."""
    spans = {info.filename: _span(file, path, info) for info in infos}
    if len(spans) != len(infos):
        _damaged(path, "it has several entries of one name")
    placed = sorted(spans.values(), key=lambda span: span.start)
    if any(a.start + a.length > b.start for a, b in pairwise(placed)):
        _damaged(path, "entries of it overlap")
    return spans


def _span(file: BinaryIO, path: Path, info: zipfile.ZipInfo) -> Span:
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
        _damaged(path, "it is compressed or encrypted, which torch.save never does")
    size = path.stat().st_size
    header = b""
    if 0 <= info.header_offset < size:
        file.seek(info.header_offset)
        header = file.read(struct.calcsize(_LOCAL_HEADER))
    if len(header) != struct.calcsize(_LOCAL_HEADER) or not header.startswith(_ZIP):
        _damaged(path, "its zip directory does not fit its content")
    name_length, extra_length = struct.unpack(_LOCAL_HEADER, header)[-2:]
    start = info.header_offset + len(header) + name_length + extra_length
    if start + info.file_size > size:
        _damaged(path, "it ends in the middle of its content; it was probably cut off on the way")
    return Span(path, start, info.file_size)


def _damaged_error(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: {reason}.", "a whole torch.save file.", "download it again.")


def _damaged(path: Path, reason: str) -> NoReturn:
    raise _damaged_error(path, reason)

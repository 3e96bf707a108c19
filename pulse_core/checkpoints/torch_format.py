"""torch.save files (.pt, .pth): the zip layout, and the legacy one of torch before 1.6."""

from __future__ import annotations

import struct
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ..errors import CheckpointError
from .pickle_content import tensors_and_facts
from .pickle_machine import Machine
from .stored import Span, StoredTensor
from .torch_legacy import MAGIC, read_legacy
from .vocabulary import CheckpointWords

NAME = "PyTorch"
SUFFIXES = (".pt", ".pth")

_ZIP = b"PK\x03\x04"
_LOCAL_HEADER = "<4s5H3L2H"  # of a zip entry; its last two numbers are the lengths of the name and of what follows it
_MAX_ENTRIES = 100_000
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


def read(path: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """The tensors of the generator's state dict, wherever the file keeps it; see pickle_content.py."""
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            content = _read_zip(file, path)
        else:
            content = read_legacy(file, path, Span(path, 0, path.stat().st_size), CheckpointWords({}))
    return tensors_and_facts(path, content)


def _read_zip(file: BinaryIO, path: Path) -> Any:
    """NAME/data.pkl is the pickle; NAME/data/KEY are the storages."""
    spans = _entries(file, path)
    roots = [name.removesuffix("data.pkl") for name in spans if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(roots) != 1:
        _damaged(path, "it is a zip archive, but not one that torch.save writes")
    root = roots[0]
    if f"{root}constants.pkl" in spans:
        raise CheckpointError(
            f"{path} is a TorchScript program.",
            "a checkpoint that torch.save wrote.",
            "save the generator's state_dict() and load that.",
        )
    words = CheckpointWords({})
    pickled = spans[f"{root}data.pkl"]
    content = Machine(file, path, pickled.start, pickled.start + pickled.length, words).run()
    for key, storage in (words.storages or {}).items():
        span = spans.get(f"{root}data/{key}")
        if span is None or span.length != storage.length * storage.dtype.itemsize:
            _damaged(path, f"the numbers of its tensor {key[:20]!a} are missing or of another length")
        storage.span = span
    return content


def _entries(file: BinaryIO, path: Path) -> dict[str, Span]:
    """Where each entry of the archive lies. torch never compresses, and nothing is ever unpacked here."""
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except _DAMAGED_ZIP as error:
        raise _damaged_error(path, f"its zip directory cannot be read ({error})") from error
    if len(infos) > _MAX_ENTRIES:
        _damaged(path, f"it has {len(infos):,} entries")
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

"""Pickles, written opcode by opcode, and the kinds of file that contain one."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pulse_core.checkpoints.torch_legacy import MAGIC


class Code(bytes):
    """Opcodes that leave one item on the stack. `code` accepts them among its values."""


def code(item: Any) -> Code:
    """The opcodes of an item of plain data. Code inside it is inserted unchanged."""
    match item:
        case Code():
            return item
        case None | True | False:
            return Code({None: b"N", True: b"\x88", False: b"\x89"}[item])
        case str():
            data = item.encode("utf-8", "surrogatepass")
            return Code(b"X" + struct.pack("<I", len(data)) + data)
        case bytes():
            return Code(b"B" + struct.pack("<I", len(item)) + item)
        case int():
            data = item.to_bytes(item.bit_length() // 8 + 1, "little", signed=True)
            return Code(b"\x8b" + struct.pack("<i", len(data)) + data)
        case float():
            return Code(b"G" + struct.pack(">d", item))
        case tuple():
            return Code(b"(" + b"".join(map(code, item)) + b"t")
        case list():
            return Code(b"](" + b"".join(map(code, item)) + b"e")
        case dict():
            return Code(b"}(" + b"".join(code(k) + code(v) for k, v in item.items()) + b"u")
    raise TypeError(type(item))


def name(full: str) -> Code:
    """GLOBAL."""
    module, _, last = full.rpartition(".")
    return Code(f"c{module}\n{last}\n".encode())


def call(full: str | Code, *args: Any) -> Code:
    """GLOBAL and REDUCE."""
    return Code((name(full) if isinstance(full, str) else full) + code(args) + b"R")


def new(full: str, state: Any) -> Code:
    """An object of a class, with its state: NEWOBJ and BUILD."""
    return Code(name(full) + b")\x81" + code(state) + b"b")


# The kinds of file


def bare(program: bytes) -> bytes:
    """A .pkl file. Like all of these functions, it appends STOP."""
    return b"\x80\x04" + program + b"."


def zipped(program: bytes, data: Mapping[str, bytes] | None = None) -> bytes:
    """A file in torch.save's zip layout, with storages by key."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", bare(program))
        for key, content in (data or {}).items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def legacy(program: bytes, data: Mapping[str, bytes] | None = None, keys: bytes | None = None) -> bytes:
    """A file in torch.save's layout before 1.6, with float storages by key. keys: opcodes for their list."""
    data = data or {}
    parts = [pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2), bare(program)]
    parts.append(bare(code(list(data)) if keys is None else keys))
    return MAGIC + b"." + b"".join(parts) + b"".join(struct.pack("<q", len(d) // 4) + d for d in data.values())


def nested(program: bytes) -> bytes:
    """A .pkl with a storage, which contains the program as a pickle of its own."""
    return bare(call("torch.storage._load_from_bytes", legacy(program)))


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {"bare": bare, "zipped": zipped, "legacy": legacy, "nested": nested}


def storage(numel: int, key: str = "0", kind: str = "torch.FloatStorage") -> Code:
    """A storage by its persistent id, as in the zip and the legacy layout."""
    return Code(code(("storage", name(kind), key, "cpu", numel)) + b"Q")


def tensor(store: Code, shape: Any, strides: Any, offset: Any = 0) -> Code:
    return call(
        "torch._utils._rebuild_tensor_v2", store, offset, shape, strides, False, call("collections.OrderedDict")
    )


def array(shape: Any, data: Any, dtype: str = "f4", order: Any = False) -> Code:
    """A numpy array as protocols 2 to 4 write it."""
    empty = call("numpy.core.multiarray._reconstruct", name("numpy.ndarray"), (0,), b"b")
    kind = Code(call("numpy.dtype", dtype, False, True) + code((3, "<", None, None, None, -1, -1, 0)) + b"b")
    return Code(empty + code((1, shape, kind, order, data)) + b"b")


def write(folder: Path, title: str, content: bytes) -> Path:
    path = folder / f"{title}.file"
    path.write_bytes(content)
    return path

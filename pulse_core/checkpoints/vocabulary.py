"""The words of a checkpoint's pickle, and the plain data that each makes.

Nothing here imports or calls what a file names. A word is looked up in WORDS. Any other name makes a Record, so that
a generator loads next to objects of other programs. A name that only an attack needs makes the file an error.
To add a word: one function and its line in WORDS.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import CheckpointError
from .pickle_machine import Machine, Name, Record
from .stored import MAX_DIMS, Span, StoredTensor, Unreadable, in_memory, row_major, tensor_in
from .torch_legacy import Storage, read_legacy

MAX_ENCODED = 256  # bytes; protocol 2 stores the bytes of numpy scalars as text

STORAGE_TYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.QInt8Storage": torch.qint8,
    "torch.QUInt8Storage": torch.quint8,
    "torch.QInt32Storage": torch.qint32,
}

# numpy's name -> torch's type and struct's letter
NUMPY_TYPES = {
    "f2": (torch.float16, "e"),
    "f4": (torch.float32, "f"),
    "f8": (torch.float64, "d"),
    "i1": (torch.int8, "b"),
    "i2": (torch.int16, "h"),
    "i4": (torch.int32, "i"),
    "i8": (torch.int64, "q"),
    "u1": (torch.uint8, "B"),
    "b1": (torch.bool, "?"),
}

PERSISTENT_OBJECT = "torch_utils.persistence._reconstruct_persistent_obj"
TF_NETWORK = "dnnlib.tflib.network.Network"


@dataclass(eq=False)
class NumpyType:
    """A numpy dtype: its name, and whether its byte order is swapped."""

    name: str
    swapped: bool = False


@dataclass(eq=False)
class NumpyArray:
    """A numpy array, empty until BUILD fills it."""

    tensor: StoredTensor | None = None


@dataclass(eq=False)
class TensorView:
    """A tensor over a storage whose place in the file may not be known yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def place(self) -> StoredTensor | None:
        """The tensor, once its storage has a span; None if it does not fit."""
        if self.storage.span is None:
            return None
        return tensor_in(self.storage.span, self.storage.dtype, self.shape, self.strides, self.offset)


def _is_sizes(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_DIMS and all(type(n) is int for n in value)


def _rebuild_tensor(m: Machine, args: tuple[Any, ...]) -> Any:
    match args:
        case (Storage() as storage, int(offset), shape, strides, *_) if _is_sizes(shape) and _is_sizes(strides):
            if storage.dtype.is_complex or str(storage.dtype).startswith("torch.q"):
                return Unreadable(f"numbers of the type {storage.dtype}")
            return TensorView(storage, offset, shape, strides)
    return NotImplemented


def _rebuild_other_tensor(m: Machine, args: tuple[Any, ...]) -> Any:
    """Types without a storage class, such as the 8-bit floating-point types."""
    kind = next((item.full for item in args[4:] if isinstance(item, Name)), "an unknown type")
    return Unreadable(f"numbers of the type {kind[:60]}")


def _rebuild_quantised(m: Machine, args: tuple[Any, ...]) -> Any:
    return Unreadable("quantised numbers")


def _rebuild_parameter(m: Machine, args: tuple[Any, ...]) -> Any:
    return args[0] if args and isinstance(args[0], (TensorView, Unreadable)) else NotImplemented


def _load_from_bytes(m: Machine, args: tuple[Any, ...]) -> Any:
    if len(args) != 1 or not isinstance(args[0], Span):
        return NotImplemented
    words = NestedStorageWords()
    storage = read_legacy(m.file, m.path, args[0], words, m.budget)
    return storage if isinstance(storage, Storage) else NotImplemented


def _persistent_object(m: Machine, args: tuple[Any, ...]) -> Any:
    match args:
        case ({"class_name": str(kind), "state": dict(state)},):
            return Record(kind, state)
    return NotImplemented


def _dict(m: Machine, args: tuple[Any, ...]) -> Any:
    match args:
        case ():
            return {}
        case (list(pairs),):
            m.spend(len(pairs))
            if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
                return NotImplemented
            return {m.key(key): value for key, value in pairs}
    return NotImplemented


def _set(m: Machine, args: tuple[Any, ...]) -> Any:
    match args:
        case ():
            return set()
        case (list(items),):
            m.spend(len(items))
            return {m.key(item) for item in items}
    return NotImplemented


def _size(m: Machine, args: tuple[Any, ...]) -> Any:
    return args[0] if len(args) == 1 and _is_sizes(args[0]) else NotImplemented


def _encode(m: Machine, args: tuple[Any, ...]) -> Any:
    """Bytes in protocol 2's encoding. Tensors in it are refused: they would be in memory twice."""
    match args:
        case (str(text), "latin1" | "latin-1") if all(letter < "\u0100" for letter in text[: MAX_ENCODED + 1]):
            if len(text) > MAX_ENCODED:
                raise CheckpointError(
                    f"{m.path} is a pickle of the old protocol 2 with its tensors spelt out as text.",
                    "a pickle of protocol 3 or later, as NVlabs' programs write it.",
                    "where it was made, save it again with pickle.dump(..., protocol=4).",
                )
            return text.encode("latin-1")
    return NotImplemented


def _default_dict(m: Machine, args: tuple[Any, ...]) -> Any:
    return {} if len(args) <= 1 else NotImplemented


def _numpy_type(m: Machine, args: tuple[Any, ...]) -> Any:
    if not args or not isinstance(args[0], str):
        return NotImplemented
    return NumpyType(args[0]) if args[0] in NUMPY_TYPES else Record(f"numpy.dtype {args[0][:20]}")


def _numpy_array(m: Machine, args: tuple[Any, ...]) -> Any:
    return NumpyArray() if args and args[0] == Name("numpy.ndarray") else NotImplemented


def _numpy_scalar(m: Machine, args: tuple[Any, ...]) -> Any:
    match args:
        case (NumpyType(name=name, swapped=swapped), Span() | bytes() as data):
            form = (">" if swapped else "<") + NUMPY_TYPES[name][1]
            if (data.length if isinstance(data, Span) else len(data)) != struct.calcsize(form):
                return NotImplemented
            return struct.unpack(form, data.read() if isinstance(data, Span) else data)[0]
        case (Record() as kind, _):
            return Record(kind.kind)
    return NotImplemented


def _numpy_from_buffer(m: Machine, args: tuple[Any, ...]) -> Any:
    match args:
        case (Span() as data, NumpyType() as dtype, shape, "C" | "F" as order):
            return NumpyArray(_numpy_tensor(m, shape, dtype, order == "F", data))
        case (_, Record(), _, _):
            return NumpyArray()
    return NotImplemented


# The words, and the functions for calls of them. None: a word that is never called.
WORDS: dict[str, Callable[[Machine, tuple[Any, ...]], Any] | None] = {
    **dict.fromkeys(STORAGE_TYPES),
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_other_tensor,
    "torch._utils._rebuild_qtensor": _rebuild_quantised,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch.storage._load_from_bytes": _load_from_bytes,
    "torch.Size": _size,
    PERSISTENT_OBJECT: _persistent_object,
    TF_NETWORK: lambda m, args: NotImplemented if args else Record(TF_NETWORK),
    "argparse.Namespace": lambda m, args: NotImplemented if args else Record("argparse.Namespace"),
    "dnnlib.util.EasyDict": _dict,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _default_dict,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "_codecs.encode": _encode,
    "numpy.ndarray": None,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray._reconstruct": _numpy_array,
    "numpy._core.multiarray._reconstruct": _numpy_array,
    "numpy.core.numeric._frombuffer": _numpy_from_buffer,
    "numpy._core.numeric._frombuffer": _numpy_from_buffer,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
# Layers of torch itself become Records, too, but do not count as unknown.
_MODULE = re.compile(r"torch\.nn\.modules\.\w+\.\w+")
# Names that only an attack on Python's own pickle needs.
_ATTACKS = re.compile(
    r"(os|posix|nt|subprocess|sys|socket|shutil|runpy|importlib|pty|commands|pickle|_pickle|ctypes|webbrowser"
    r"|torch\.hub)\..*|(builtins|__builtin__)\.(exec|eval|execfile|compile|__import__|open|input|breakpoint)(\..*)?",
    re.DOTALL,
)
_MAX_UNKNOWN = 100


class CheckpointWords:
    """All of WORDS.

    storages: resolves the persistent ids of torch.save; None where there are none. The ids look like
        ("storage", torch.FloatStorage, key, device, number of elements, ...).
    unknown: the first names of other programs that the file mentions.
    """

    storages: dict[str, Storage] | None

    def __init__(self, storages: dict[str, Storage] | None = None):
        self.storages = storages
        self.unknown: list[str] = []

    def allow(self, machine: Machine, name: str) -> None:
        if _ATTACKS.fullmatch(name):
            machine.refuse(name)
        is_known = name in WORDS or name in self.unknown or _MODULE.fullmatch(name)
        if not is_known and len(self.unknown) < _MAX_UNKNOWN:
            self.unknown.append(name)

    def call(self, machine: Machine, name: str, args: tuple[Any, ...]) -> Any:
        if name not in WORDS:
            return Record(name)
        word = WORDS[name]
        return word(machine, args) if word is not None else NotImplemented

    def build(self, machine: Machine, item: Any, state: Any) -> bool:
        match item, state:
            case (Record(), dict(content)) | (Record(), (_, dict(content))):
                machine.spend(len(content))
                item.state.update(content)
            case (Record(), _) | (dict(), dict()):
                pass  # the state of an unknown object; a state dict's _metadata
            case NumpyType(), (int(), str(order), *_):
                item.swapped = order == ">"
            case NumpyArray(), (int(), shape, NumpyType() as dtype, bool(by_column), Span() | bytes() as data):
                item.tensor = _numpy_tensor(machine, shape, dtype, by_column, data)
            case NumpyArray(), (int(), _, Record(), *_):
                pass  # numbers of a type that no tensor has
            case _:
                return False
        return True

    def persistent(self, machine: Machine, key: Any) -> Any:
        match key:
            case ("storage", Name(full=kind), str(name), str(), int(length), *rest) if (
                self.storages is not None and kind in STORAGE_TYPES and length >= 0 and rest in ([], [None])
            ):
                found = self.storages.setdefault(name, Storage(STORAGE_TYPES[kind], length))
                same = (found.dtype, found.length) == (STORAGE_TYPES[kind], length)
                return found if same else NotImplemented
            case ("module", Name() as kind, *_) if self.storages is not None:
                return kind  # a class of layers, with its source text, as the legacy layout has them
        return NotImplemented


class NestedStorageWords(CheckpointWords):
    """The words of a storage inside a pickle: storage types only."""

    def __init__(self) -> None:
        super().__init__({})

    def allow(self, machine: Machine, name: str) -> None:
        if name not in STORAGE_TYPES:
            machine.refuse(name)


def _numpy_tensor(m: Machine, shape: Any, dtype: NumpyType, by_column: bool, data: Span | bytes) -> StoredTensor:
    if not _is_sizes(shape) or dtype.swapped:
        m.damaged("its pickle has an array of an unknown layout")
    kind = NUMPY_TYPES[dtype.name][0]
    strides = row_major(shape[::-1])[::-1] if by_column else row_major(shape)
    tensor = None
    if isinstance(data, Span):
        tensor = tensor_in(data, kind, shape, strides)
    elif data and all(n > 0 for n in shape) and math.prod(shape) * kind.itemsize == len(data):  # a short one
        tensor = in_memory(torch.frombuffer(bytearray(data), dtype=kind).as_strided(shape, strides))
    if tensor is None:
        m.damaged("its pickle has an array that is longer than its data")
    return tensor

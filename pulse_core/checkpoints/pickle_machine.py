"""A pickle interpreter that cannot run code: it never imports a name or calls anything by name.

A pickle is a program for a stack machine. Python's own runs whatever functions the program names. This
one knows a fixed list of words (vocabulary.py), each of which makes plain data. Any other name makes a
`Record`, which holds what the file says about the object and does nothing. Byte strings are not read but
noted as spans of the file. Work and memory are bounded by the size of the file and by `MAX_OPCODES`.

The opcodes are those that protocols 2 to 5 write (Python's pickletools describes them); the older
text opcodes are not known here, because no checkpoint has them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

from ..errors import CheckpointError
from .stored import Span

MAX_OPCODES = 1_000_000  # real files have up to about 100,000
MAX_TEXT = 1 << 22  # bytes; NVlabs' files hold about 40 KB of source text
MAX_LINE = 1 << 10
MAX_INT = 1 << 8  # bytes
_MARK = object()
_SCALARS = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True)
class Name:
    """A name that the file mentions, such as torch.FloatStorage. It is never looked up in Python."""

    full: str


@dataclass(eq=False)
class Record:
    """An object of a class that is known by its name alone.

    kind: the name. state: what the file says of it. It is never made into the object.
    """

    kind: str
    state: dict[str, Any] = field(default_factory=dict)


class Words(Protocol):
    """The vocabulary of a machine; see vocabulary.py."""

    def allow(self, machine: Machine, name: str) -> None:
        """Called for each name in the file; raises CheckpointError for a forbidden name."""

    def call(self, machine: Machine, name: str, args: tuple[Any, ...]) -> Any:
        """The result of REDUCE or NEWOBJ for a name and its arguments; NotImplemented for wrong arguments."""

    def build(self, machine: Machine, item: Any, state: Any) -> bool:
        """Sets the state of an item; False if it takes none."""

    def persistent(self, machine: Machine, key: Any) -> Any:
        """The object of a persistent id; NotImplemented if there is none."""


class Machine:
    """Runs one pickle in the bytes [start, end) of an open file.

    Args:
        budget: how many opcodes may still run, in a list of one, shared with pickles nested in this one.
    """

    def __init__(self, file: BinaryIO, path: Path, start: int, end: int, words: Words, budget: list[int] | None = None):
        self.file, self.path, self.position, self.end = file, path, start, end
        self.words, self.budget = words, budget if budget is not None else [MAX_OPCODES]
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Returns the pickled object as plain data, and leaves `position` after it.

        Raises:
            CheckpointError: the file is cut off or damaged, asks for code, or is too long.
        """
        while True:
            self.spend(1)
            code = self.take(1)
            if code == b".":
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                what = _FORBIDDEN.get(code)
                if what is None:
                    self.damaged(f"its pickle has the opcode {code!r}, which no checkpoint has")
                what(self)
            else:
                step(self)

    def spend(self, steps: int) -> None:
        """Takes steps off the budget: one per opcode, and one per copied item."""
        self.budget[0] -= steps
        if self.budget[0] < 0:
            self.damaged(f"its pickle has more than {MAX_OPCODES:,} steps")

    # The file

    def take(self, length: int) -> bytes:
        """The next bytes."""
        start = self.skip(length)
        self.file.seek(start)
        data = self.file.read(length)
        if len(data) != length:
            self.cut_off()
        return data

    def skip(self, length: int) -> int:
        """Skips bytes without reading them; returns where they begin."""
        start = self.position
        if length < 0 or length > self.end - start:
            self.cut_off()
        self.position += length
        return start

    def number(self, form: str) -> Any:
        """The next number, in struct's notation."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """The text up to the next line feed."""
        self.file.seek(self.position)
        line = self.file.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            self.cut_off()
        self.skip(len(line))
        return self.decode(line[:-1])

    def text(self, length: int) -> str:
        """The next bytes as text."""
        if length > MAX_TEXT:
            self.damaged(f"its pickle has a text of {length:,} bytes")
        return self.decode(self.take(length))

    def decode(self, data: bytes) -> str:
        """UTF-8, as pickle has it."""
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.damaged("its pickle has a text that is not UTF-8")

    # The stack

    def push(self, item: Any) -> None:
        """Pushes an item."""
        self.stack.append(item)

    def pop(self, kind: type | tuple[type, ...] = object) -> Any:
        """Pops the top item, which must be of this kind."""
        if not self.stack or self.stack[-1] is _MARK or not isinstance(self.stack[-1], kind):
            self.damaged("its pickle does not fit together")
        return self.stack.pop()

    def top(self, kind: type | tuple[type, ...]) -> Any:
        """The top item, which stays."""
        item = self.pop(kind)
        self.push(item)
        return item

    def pop_to_mark(self) -> list[Any]:
        """Pops all items above the last mark, and the mark."""
        items = []
        while self.stack and self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        if not self.stack:
            self.damaged("its pickle does not fit together")
        self.stack.pop()
        return items[::-1]

    def remember(self, index: int) -> None:
        """Stores the top item in the memo."""
        self.memo[index] = self.top(object)

    def recall(self, index: int) -> None:
        """Pushes an item of the memo."""
        if index not in self.memo:
            self.damaged("its pickle does not fit together")
        self.push(self.memo[index])

    def key(self, item: Any) -> Any:
        """An item as a key. A Record replaces a nested one, whose hash could recurse without end."""
        return item if isinstance(item, _SCALARS) else Record("key")

    def name(self, module: str, name: str) -> None:
        """Pushes a name."""
        full = f"{module[:MAX_LINE]}.{name[:MAX_LINE]}"
        if max(len(module), len(name)) > MAX_LINE:
            self.refuse(full)
        self.words.allow(self, full)
        self.push(Name(full))

    def call(self, name: Name, args: tuple[Any, ...]) -> None:
        """Pushes the result of calling a name in the vocabulary."""
        made = self.words.call(self, name.full, args)
        if made is NotImplemented:
            self.damaged(f"its pickle uses {name.full} in a way that no checkpoint does")
        self.push(made)

    # Errors

    def refuse(self, what: str) -> NoReturn:
        """Raises the error for a file that asks to run something."""
        raise asks_to_run(self.path, what)

    def damaged(self, reason: str) -> NoReturn:
        """Raises the error for a damaged file."""
        raise CheckpointError(
            f"{self.path} is damaged: {reason}.",
            "a whole checkpoint file.",
            "download it again.",
        )

    def cut_off(self) -> NoReturn:
        """Raises the error for a file that ends too early."""
        self.damaged("it ends in the middle of its content; it was probably cut off on the way")


def asks_to_run(path: Path, what: str) -> CheckpointError:
    """The error for a file that names a function or class no checkpoint needs."""
    return CheckpointError(
        f"{path} asks to run {ascii(what[:80])[1:-1]}. Nothing was run.",
        "a checkpoint that holds tensors and settings only.",
        "do not open this file with programs that run pickles unless you trust its author; "
        "ask there for the weights alone, as .safetensors or a state_dict.",
    )


# What each opcode does


def _global(m: Machine) -> None:
    module = m.line()
    m.name(module, m.line())


def _stack_global(m: Machine) -> None:
    name, module = m.pop(str), m.pop(str)
    m.name(module, name)


def _call(m: Machine) -> None:
    args, name = m.pop(tuple), m.pop()
    if isinstance(name, Record):  # calling the result of an unknown name is unknown, too
        m.push(Record(name.kind))
        return
    if not isinstance(name, Name):
        m.damaged("its pickle calls something that has no name")
    m.call(name, args)


def _call_with_keywords(m: Machine) -> None:
    m.pop(dict)
    _call(m)


def _build(m: Machine) -> None:
    state, item = m.pop(), m.top(object)
    if not m.words.build(m, item, state):
        m.damaged(f"its pickle gives a state to a {type(item).__name__}")


def _persistent(m: Machine) -> None:
    made = m.words.persistent(m, m.pop())
    if made is NotImplemented:
        m.damaged("its pickle refers to something outside of it")
    m.push(made)


def _inst(m: Machine) -> None:
    module = m.line()
    m.refuse(f"{module}.{m.line()} (INST)")


def _obj(m: Machine) -> None:
    items = m.pop_to_mark()
    what = items[0].full if items and isinstance(items[0], Name) else "an unnamed class"
    m.refuse(f"{what} (OBJ)")


def _span(m: Machine, length: int) -> None:
    m.push(Span(m.path, m.skip(length), length))


def _long(m: Machine, length: int) -> None:
    if not 0 <= length <= MAX_INT:
        m.damaged(f"its pickle has an integer of {length} bytes")
    m.push(int.from_bytes(m.take(length), "little", signed=True))


def _set_items(m: Machine) -> None:
    items, target = m.pop_to_mark(), m.top((dict, Record))
    if len(items) % 2:
        m.damaged("its pickle does not fit together")
    if isinstance(target, dict):
        target.update((m.key(k), v) for k, v in zip(items[::2], items[1::2], strict=True))


def _set_item(m: Machine) -> None:
    value, key = m.pop(), m.key(m.pop())
    target = m.top((dict, Record))
    if isinstance(target, dict):
        target[key] = value


def _append(m: Machine) -> None:
    item = m.pop()
    target = m.top((list, Record))
    if isinstance(target, list):
        target.append(item)


def _appends(m: Machine) -> None:
    items = m.pop_to_mark()
    target = m.top((list, Record))
    if isinstance(target, list):
        target.extend(items)


def _add_items(m: Machine) -> None:
    items = m.pop_to_mark()
    target = m.top((set, Record))
    if isinstance(target, set):
        target.update(m.key(item) for item in items)


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def make(m: Machine) -> None:
        items = [m.pop() for _ in range(count)]
        m.push(tuple(items[::-1]))

    return make


_STEPS: dict[bytes, Callable[[Machine], Any]] = {
    # framing
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),
    # constants
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: _long(m, m.number("<B")),
    b"\x8b": lambda m: _long(m, m.number("<i")),
    b"G": lambda m: m.push(m.number(">d")),
    b"\x8c": lambda m: m.push(m.text(m.number("<B"))),
    b"X": lambda m: m.push(m.text(m.number("<I"))),
    b"\x8d": lambda m: m.push(m.text(m.number("<Q"))),
    b"U": lambda m: m.push(m.text(m.number("<B"))),
    b"C": lambda m: _span(m, m.number("<B")),
    b"B": lambda m: _span(m, m.number("<I")),
    b"\x8e": lambda m: _span(m, m.number("<Q")),
    b"\x96": lambda m: _span(m, m.number("<Q")),
    # containers
    b"(": lambda m: m.push(_MARK),
    b"}": lambda m: m.push({}),
    b"]": lambda m: m.push([]),
    b")": lambda m: m.push(()),
    b"\x8f": lambda m: m.push(set()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"s": _set_item,
    b"u": _set_items,
    b"a": _append,
    b"e": _appends,
    b"\x90": _add_items,
    # the stack and the memo
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.pop_to_mark(),
    b"2": lambda m: m.push(m.top(object)),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.recall(m.number("<B")),
    b"j": lambda m: m.recall(m.number("<I")),
    # names and calls
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _call,
    b"\x81": _call,
    b"\x92": _call_with_keywords,
    b"b": _build,
    b"Q": _persistent,
}

# Opcodes that can only run code, and what they name.
_FORBIDDEN: dict[bytes, Callable[[Machine], Any]] = {
    b"i": _inst,
    b"o": _obj,
    b"\x82": lambda m: m.refuse(f"extension {m.number('<B')} (EXT1)"),
    b"\x83": lambda m: m.refuse(f"extension {m.number('<H')} (EXT2)"),
    b"\x84": lambda m: m.refuse(f"extension {m.number('<i')} (EXT4)"),
    b"P": lambda m: m.refuse(f"a look-up of {m.line()!r} (PERSID)"),
}

"""Malicious and damaged files: the tables of tests/core/test_hostile.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pickles import Code, array, bare, call, code, legacy, name, new, storage, tensor, zipped

MODULE, NETWORK = "torch.nn.modules.module.Module", "dnnlib.tflib.network.Network"


# Programs that Python's pickle would execute. Each creates the file "marker" in a folder, or imports "innocent.py",
# which does.


def touch(folder: Path) -> str:
    return f"touch '{folder}/marker'"


def mapped(folder: Path) -> bytes:
    """map(os.system, [...]), which the constructor of another class iterates over."""
    return name("builtins.map") + code((name("os.system"), [touch(folder)])) + b"\x81"


def dotted(module: str, inner: str) -> Code:
    """STACK_GLOBAL."""
    return Code(code(module) + code(inner) + b"\x93")


def from_hub(folder: Path) -> Code:
    """functools.partial has a __setstate__, which lets it call any function with keywords."""
    state = (name("torch.hub.load"), (str(folder), "entry"), {"source": "local"}, {})
    return call(Code(call("functools.partial", name("builtins.print")) + code(state) + b"b"))


def built(folder: Path) -> Code:
    """BUILD calls the __setstate__ that an earlier BUILD put into an object of an allowed class."""
    state = code({"__setstate__": name("os.system")}) + b"b" + code(touch(folder)) + b"b"
    return Code(call("argparse.Namespace") + state)


RUNNING: dict[str, Callable[[Path], bytes]] = {
    "GLOBAL": lambda f: call("os.system", touch(f)),
    "STACK_GLOBAL": lambda f: call(dotted("os", "system"), touch(f)),
    "INST": lambda f: b"(" + code(touch(f)) + b"ios\nsystem\n",
    "OBJ": lambda f: b"(" + name("os.system") + code(touch(f)) + b"o",
    "NEWOBJ": lambda f: name("builtins.tuple") + mapped(f) + b"\x85\x81",
    "NEWOBJ_EX": lambda f: name("builtins.tuple") + mapped(f) + b"\x85}\x92",
    "BUILD": built,
    "BUILD with __setstate__": from_hub,
    "EXT1": lambda f: call(Code(b"\x82\xf1"), touch(f)),
    "EXT2": lambda f: call(Code(b"\x83\xf2\xf2"), touch(f)),
    "EXT4": lambda f: call(Code(b"\x84\xf4\xf4\xf4\x74"), touch(f)),
    "posix.system": lambda f: call("posix.system", touch(f)),
    "eval": lambda f: call("builtins.eval", f"open({str(f / 'marker')!r}, 'w')"),
    "exec": lambda f: call("builtins.exec", f"open({str(f / 'marker')!r}, 'w')"),
    "getattr": lambda f: call(call("builtins.getattr", call("importlib.import_module", "os"), "system"), touch(f)),
    "functools.partial": lambda f: call(call("functools.partial", name("os.system"), touch(f))),
    "pickle.loads": lambda f: call("pickle.loads", bare(call("os.system", touch(f)))),
    "a method": lambda f: call(dotted("pathlib", "Path.touch"), call("pathlib.PosixPath", str(f / "marker"))),
    "what a known module imports": lambda f: call(dotted("torch.nn.modules.module", "torch.hub.os.system"), touch(f)),
    "an import alone": lambda f: name("innocent.word"),
}
EXTENSIONS = {("os", "system"): 0xF1, ("posix", "system"): 0xF2F2, ("subprocess", "getoutput"): 0x74F4F4F4}


# Invalid programs, and programs that need too much memory or time. Each is tried in every kind of file.


def many(body: bytes, count: int, *kept: Code) -> bytes:
    """Puts `kept` into the memo under 0, 1, ..., and then repeats `body`."""
    return b"".join(item + b"q" + bytes([i]) + b"0" for i, item in enumerate(kept)) + body * count + b"N"


def numbered(value: bytes) -> Code:
    """A dictionary with 60,000 keys and the same value for each."""
    return Code(b"}(" + b"".join(b"M" + i.to_bytes(2, "little") + value for i in range(60_000)) + b"u")


def nests(depth: int) -> dict[str, Code]:
    return {
        "tuples": Code(b"N" + b"\x85" * depth),
        "lists": Code(b"]" * depth + b"a" * (depth - 1)),
        "dicts": Code(b"}K\x00" * depth + b"N" + b"s" * depth),
        "records": Code((name(MODULE) + b")\x81}K\x00") * depth + b"N" + b"sb" * depth),
        "doubled tuples": Code(b"N" + b"2\x86" * 60),  # 2**60 items, if they are visited one by one
        "doubled lists": Code(b"]q\x00" + b"0](h\x00h\x00eq\x00" * 60),
        "itself, a list": Code(b"]q\x00h\x00a"),
        "itself, a dict": Code(b"}q\x00K\x00h\x00s"),
    }


DEEP = {title: nest for title, nest in nests(100_000).items() if title in ("tuples", "lists", "dicts")}
USES: dict[str, Callable[[Code], bytes]] = {
    "value": lambda x: x,
    "key": lambda x: b"}" + x + b"Ns",
    "element of a set": lambda x: b"\x8f(" + x + b"\x90",
    "pair's key": lambda x: call("collections.OrderedDict", [(x, 1)]),
    "element of a called set": lambda x: call("builtins.set", [x]),
    "state": lambda x: new(MODULE, {"_parameters": x}),
    "entry": lambda x: code({"G_ema": x, "state_dict": {"w": x}}),
    "network": lambda x: code((None, None, new(NETWORK, {"variables": [], "components": {}, "build_func_name": x}))),
    "variables": lambda x: code((None, None, new(NETWORK, {"variables": [x, ("w", x)], "components": {"c": x}}))),
    "persistent id": lambda x: x + b"Q",
    "shape": lambda x: tensor(storage(1), x, x),
    "array's shape": lambda x: array(x, b"1234"),
    "argument": lambda x: call("torch.Size", x),
    "class": lambda x: call("torch_utils.persistence._reconstruct_persistent_obj", {"class_name": x, "state": x}),
}
PAIRS, FEW = Code(b"](" + b"K\x00K\x00\x86" * 90_000 + b"e"), Code(b"](" + b"K\x00" * 90_000 + b"e")
SHAPE, BIG = Code(b"(" + b"K\x01" * 90_000 + b"t"), code("x" * 4_000_000)
DTYPE = call("numpy.dtype", "f4", False, True)
STATE, SAME_ARRAYS = numbered(b"N"), Code(array((1,), b"1234") + b"q\x000" + numbered(b"h\x00"))
BOMBS: dict[str, bytes] = {
    "copies of pairs": many(b"h\x01h\x00\x85R0", 100_000, PAIRS, name("collections.OrderedDict")),
    "copies of a set": many(b"h\x01h\x00\x85R0", 100_000, FEW, name("builtins.set")),
    "copies of a state": many(b"h\x01h\x00b0", 200_000, STATE, new("argparse.Namespace", {})),
    "long shapes": array(SHAPE, b"1234"),
    "long shapes of huge numbers": array(Code(b"(" + code(2**2000) * 30_000 + b"t"), b"1234"),
    "long names": many(b"h\x00h\x01\x93", 200_000, code("torch.nn.modules"), BIG),
    "long prefixes": code(
        {"G": new(MODULE, {"_modules": {"x" * 4_000_000: new(MODULE, {"_parameters": SAME_ARRAYS})}})}
    ),
    "DUP": b"N" + b"2" * 1_000_001,
    "MEMOIZE": b"N" + b"\x94" * 1_000_001,
    "POP": b"N0" * 500_001 + b"N",
    "MARK": b"(" * 1_000_001,
    "LONG_BINPUT": b"Nr\xff\xff\xff\xff",
    "LONG_BINGET": b"j\xff\xff\xff\xff",
    "BINBYTES8": b"\x8e" + (2**60).to_bytes(8, "little"),
    "BYTEARRAY8": b"\x96" + (2**64 - 1).to_bytes(8, "little"),
    "BINUNICODE8": b"\x8d" + (2**60).to_bytes(8, "little"),
    "BINUNICODE": b"X\xff\xff\xff\xff",
    "BINUNICODE of 5 MB": b"X" + (5_000_000).to_bytes(4, "little") + b"x" * 5_000_000,
    "LONG4": b"\x8b\xff\xff\xff\x7f",
    "LONG4 of 2 MB": b"\x8b" + (2_000_000).to_bytes(4, "little") + b"\x7f" * 2_000_000,
    "LONG4, negative": b"\x8b\xff\xff\xff\xff",
    "FRAME": b"\x95" + b"\xff" * 8 + b"N",
}
FLOATS = name("torch.FloatStorage")
ARGUMENTS: dict[str, list[tuple[Any, ...]]] = {  # of allowed names, and of names that resemble them
    "collections.OrderedDict": [(1,), ("ab",), ([1],), ([(1, 2, 3)],), ([([], 1)],), ({"a": 1}, 2), (FLOATS,)],
    "builtins.set": [(1,), ("ab",), ([[]],), ([], [])],
    "numpy.dtype": [(kind, False, True) for kind in ("O8", "O", "V8", "M8", "U1", "f16", 4, None)],
    "numpy.core.multiarray._reconstruct": [(), (FLOATS, (0,), b"b"), ("numpy.ndarray", (0,), b"b")],
    "numpy.core.multiarray.scalar": [(DTYPE, b"12345"), (DTYPE, "1234"), (DTYPE, None), (call("numpy.dtype", "O8"), 1)],
    "numpy.core.numeric._frombuffer": [("x", DTYPE, (1,), "C"), (b"1234", DTYPE, (2**40,), "C"), (b"", DTYPE, 1, "A")],
    "torch._utils._rebuild_tensor_v2": [
        *[(), (1, 2, 3), (None, 0, (1,), (1,)), (b"1234", 0, (1,), (1,)), (storage(1),), (storage(1), 0, [1], [1])],
        *[(storage(1), "0", (1,), (1,)), (storage(1), 0, (1.5,), (1,)), (storage(1), 0, ("1",), (1,))],
    ],
    "torch._utils._rebuild_parameter": [(), (1, True, None)],
    "torch.storage._load_from_bytes": [
        *[(), ("x",), (b"",), (bare(b"N"),), (zipped(storage(1), {"0": b"1234"}),), (legacy(b"N"),)],
        (legacy(call("torch.storage._load_from_bytes", legacy(storage(1), {"0": b"1234"}))),),
    ],
    "torch.FloatStorage": [(), (2**40,)],
    "torch_utils.persistence._reconstruct_persistent_obj": [(), (1,), ({},), ({"class_name": "x", "state": 1},)],
    "collections.namedtuple": [("x", "y")],
    "typing.NamedTuple": [("x", [("y", name("builtins.int"))])],
    "_codecs.encode": [("x", "rot13"), ("\u0100", "latin1"), ("x" * 10_000, "latin1"), (1, 2)],
}
PIECES: dict[str, list[bytes]] = {
    "array": [array((1,), [FLOATS], "O8"), array((3,), [1, 2, 3]), array((2**40,), b"1234"), array(1, b"1234")],
    "PERSID": [b"Pstorage\n"],
    "BINPERSID": [
        *[code(key) + b"Q" for key in (None, "0", (), ("storage",), ("storage", "torch.FloatStorage", "0", "cpu", 1))],
        *[storage(-1), storage(1, kind="torch.Size"), code(("storage", FLOATS, 0, "cpu", 1)) + b"Q"],
        code(("storage", FLOATS, "0", "cpu", 1, (0, 1, 2))) + b"Q",
    ],
    "BUILD": [
        *[item + b"}b" for item in (b"N", b"K\x01", b")", b"]", b"\x8f", b"U\x01x", FLOATS, DTYPE, storage(1))],
        *[tensor(storage(1), (1,), (1,)) + b"}b", new(MODULE, 1), new(MODULE, (None, [])), DTYPE + b"NbN"],
    ],
    "REDUCE": [b"N)R", b"U\x01x)R", b"})R", call("argparse.Namespace") + b")R", FLOATS + b"]R", FLOATS + b"NR"],
    "names": [
        *[b"cos", b"c\xff\nx\n", b"c" + b"x" * 5000 + b"\nx\n", code(1) + code(2) + b"\x93"],
        call(dotted("torch._utils", "_rebuild_tensor_v2.__globals__")),
    ],
    "stack": [b"", b"(", b"0", b"1", b"2", b"t", b"K\x01a", b")K\x01a", b"]NNs", b"}(Nu", b"}NN", b"h\x00", b"R"],
    "opcodes": [b"I1\n", b"\xff", b"U\x01\xff", b"X\x01\x00\x00\x00\xff"],
}
PROGRAMS: dict[str, bytes] = {
    **BOMBS,
    **{f"{title} as {use}": used(nest) for title, nest in nests(3_000).items() for use, used in USES.items()},
    **{f"deep {title} as {use}": USES[use](nest) for title, nest in DEEP.items() for use in ("value", "key")},
    **{f"{word} {i}": call(word, *args) for word, lists in ARGUMENTS.items() for i, args in enumerate(lists)},
    **{f"{title} {i}": piece for title, pieces in PIECES.items() for i, piece in enumerate(pieces)},
}


# Tensors with wrong sizes, in the zip and in the legacy layout, with a storage of N floats
N = 4096
NUMBERS = {"0": bytes(4 * N)}
PLACED = {"zipped": zipped, "legacy": legacy}


def shared(count: int) -> Code:
    """Many tensors that share one storage."""
    return Code(tensor(storage(N), (N,), (1,)) + b"q\x000" + code({str(i): Code(b"h\x00") for i in range(count)}))


SHAPES: list[tuple[Any, Any, Any]] = [
    *[((2**40,), (1,), 0), ((N + 1,), (1,), 0), ((N,), (1,), 1), ((2, N), (N, 1), 0), ((1,), (1,), 2**70)],
    *[((N + 1,), (0,), 0), ((2**40,), (0,), 0), ((1000, 1000), (0, 0), 0), ((2**20,) * 3, (0,) * 3, 0)],
    *[((-1,), (1,), 0), ((N,), (-1,), N - 1), ((N,), (1,), -1), ((2, 2), (1,), 0), ((1,), (2**70,), 0)],
    *[((0, 2**70), (1, 1), 0), ((0, 2**61, 2**61), (0, 0, 0), 0), ((2**70, 0), (0, 0), 0), ((2**63,), (0,), 0)],
]
TENSORS: dict[str, dict[str, Any]] = {
    "larger than the numbers": {f"{of}": {"w": tensor(storage(N), *of)} for of in SHAPES},
    "in a way that no checkpoint": {"9 dimensions": {"w": tensor(storage(N), (1,) * 9, (1,) * 9)}},
    "missing or of another length|does not fit its content|another length than it says": {
        "numel 2**60": {"w": tensor(storage(2**60), (8,), (1,))},
        "numel 2**70": {"w": tensor(storage(2**70), (8,), (1,))},
        "more": {"w": tensor(storage(N + 1), (N,), (1,))},
        "less": {"w": tensor(storage(N - 1), (N,), (1,))},
        "wider": {"w": tensor(storage(N // 2 + 1, kind="torch.DoubleStorage"), (8,), (1,))},
        "no such key": [storage(N), storage(N, "1")],
    },
    "refers to something outside": {
        "of two types": [storage(N), storage(N, kind="torch.IntStorage")],
        "of two lengths": [storage(N), storage(N - 1)],
    },
    "bytes but": {"sharing": shared(2000), "many": shared(20_000)},
}

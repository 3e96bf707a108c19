"""Damaged files of every format: each loads all the same, or gives one clear CheckpointError.

Which damage is done follows from the format and a number, which a failure names. PULSE_FUZZ_CASES=100000 tries
more of them.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import random
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from confined import clear, little_memory
from programs import PROGRAMS, Program
from writers import ENDINGS, FORMATS, Writer, smallest

from pulse_core.errors import CheckpointError
from pulse_core.loading.load import load_generator

CASES = max(2_500, int(os.environ.get("PULSE_FUZZ_CASES", "0")))
SECONDS = 60  # for one file, which takes some milliseconds
NUMBERS = [0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**48, 2**62, 2**63, 2**64 - 1]
OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
VALUES = [None, -1, 0, 2**40, 2**64, 1.5, "", "F16", "x", [], {}, [0, 0], [2**62, 4], [0, 2**63], [1] * 99, {"a": []}]


@dataclass(frozen=True)
class Specimen:
    """A whole file, another of the same format, and where in it there is more than numbers.

    opcodes: where those of its pickles lie; places: the same, a zip's directory, the header of safetensors.
    """

    ending: str
    whole: bytes
    other: bytes
    opcodes: list[int]
    places: list[int]


def opcodes_of(data: bytes) -> list[int]:
    """The positions of all opcodes of a file's pickles, of which a legacy torch file has several."""
    start, stops, found = 0, 1, []
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            info = next(info for info in archive.infolist() if info.filename.endswith("data.pkl"))
            start = data.index(archive.read(info))
    elif data.startswith(b"\x80\x02\x8a\x0a"):
        stops = 5
    for _ in range(stops):
        positions = [at for _, _, at in pickletools.genops(data[start:])]
        found += [start + at for at in positions]
        start += positions[-1] + 1
    return found


@pytest.fixture(scope="session")
def specimens(tmp_path_factory) -> dict[str, Specimen]:
    """The example with the fewest tensors in each format."""
    folder = tmp_path_factory.mktemp("specimens")

    def of_writer(writer: Writer) -> Specimen:
        example = smallest(writer)
        path, files = folder / f"whole{ENDINGS.get(writer, '.pt')}", []
        for tensors in (example.tensors, dict(reversed(example.tensors.items()))):
            writer(path, replace(example, tensors=tensors))
            files.append(path.read_bytes())
        return specimen(path.suffix, files)

    def of_program(program: Program) -> Specimen:
        contents = [program.content(), dict(reversed(program.tensors.items()))]
        return specimen(program.ending, [saved(content) for content in contents])

    def specimen(ending: str, files: list[bytes]) -> Specimen:
        whole = files[0]
        opcodes = [] if ending == ".safetensors" else opcodes_of(whole)
        places = opcodes or list(range(8 + int.from_bytes(whole[:8], "little")))
        if whole.startswith(b"PK"):
            places = places + list(range(whole.index(b"PK\x01\x02"), len(whole)))
        return Specimen(ending, *files, opcodes, places)

    formats = {name: of_writer(writer) for name, writer in FORMATS.items()}
    return formats | {name: of_program(program) for name, program in PROGRAMS.items()}


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


# Ways to damage a file: (source of chance, the file so far, what it was) -> the file


def anywhere(chance: random.Random, data: bytes, whole: Specimen) -> int:
    """A position, every second time one where there is more than numbers."""
    place = chance.choice(whole.places) + chance.randrange(4) if chance.random() < 0.5 else chance.randrange(len(data))
    return min(place, len(data) - 1)


def length(chance: random.Random) -> int:
    return chance.choice([1, 2, 4, 8, 9, 64, 1000, chance.randrange(1, 10_000)])


def flip(chance: random.Random, data: bytes, whole: Specimen) -> bytes:
    at = anywhere(chance, data, whole)
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def delete(chance: random.Random, data: bytes, whole: Specimen) -> bytes:
    at = anywhere(chance, data, whole)
    return data[:at] + data[at + length(chance) :]


def duplicate(chance: random.Random, data: bytes, whole: Specimen) -> bytes:
    at, to = anywhere(chance, data, whole), anywhere(chance, data, whole)
    return data[:to] + data[at : at + length(chance)] + data[to:]


def insert(chance: random.Random, data: bytes, whole: Specimen) -> bytes:
    at = anywhere(chance, data, whole)
    return data[:at] + chance.randbytes(length(chance)) + data[at:]


def truncate(chance: random.Random, data: bytes, whole: Specimen) -> bytes:
    return data[: anywhere(chance, data, whole)]


def swap(chance: random.Random, data: bytes, whole: Specimen) -> bytes:
    at, there, count = anywhere(chance, data, whole), anywhere(chance, whole.other, whole), length(chance)
    return data[:at] + whole.other[there : there + count] + data[at + count :]


def number(chance: random.Random, data: bytes, whole: Specimen) -> bytes:
    at, width = anywhere(chance, data, whole), chance.choice([4, 8])
    written = (chance.choice(NUMBERS) % 256**width).to_bytes(width, chance.choice(["little", "big"]))
    return data[:at] + written + data[at + width :]


def opcode(chance: random.Random, data: bytes, whole: Specimen) -> bytes:
    """Any other, or one that the file has somewhere else."""
    at, there = chance.choices(whole.opcodes, k=2)
    return data[:at] + chance.choice([chance.choice(OPCODES), whole.whole[there : there + 1]]) + data[at + 1 :]


def header(chance: random.Random, data: bytes, whole: Specimen) -> bytes:
    """Another value, or one more or fewer, in the header of a safetensors file."""
    end = 8 + int.from_bytes(whole.whole[:8], "little")
    content = json.loads(whole.whole[8:end])
    name = chance.choice(list(content))
    entry = content[name]
    match chance.randrange(7):
        case 0:
            content[chance.choice(["__metadata__", "", "x" * 999, *content])] = content.pop(name)
        case 1:
            entry[chance.choice(["dtype", "shape", "data_offsets", "x"])] = chance.choice(VALUES)
        case 2:
            chance.choice([entry["shape"], entry["data_offsets"]]).append(chance.choice([0, 1, 2**33]))
        case 3:
            numbers = chance.choice([numbers for numbers in (entry["shape"], entry["data_offsets"]) if numbers])
            numbers[chance.randrange(len(numbers))] += chance.choice([-4, -1, 1, 4, 2**31, 2**62])
        case 4:
            content["__metadata__"] = chance.choice([*VALUES, {"family": "x", "config": "[" * 900}, {"family": "x"}])
        case 5:
            entry["shape"].reverse()
        case 6:
            entry["dtype"] = chance.choice(["I32", "U32", "F32"])
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + whole.whole[end:]


KEEPING_THE_LENGTH = [flip, number]  # the only ones that a zip's directory outlives
OTHERS = [delete, duplicate, insert, truncate, swap]


def mutant(name: str, seed: int, whole: Specimen) -> bytes:
    """The file with one to three damages."""
    chance = random.Random(f"{name} {seed}")
    damages = [*KEEPING_THE_LENGTH * 2, *OTHERS, *[opcode if whole.opcodes else header] * 4]
    data = whole.whole
    for damage in chance.choices(damages, k=chance.choice([1, 1, 2, 3])):
        data = damage(chance, data, whole) or data
    return data


@contextmanager
def watched(what: str) -> Iterator[None]:
    """Names the case in any error but a clear one, also when it does not end."""

    def late(*_: object) -> None:
        raise TimeoutError(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    except BaseException as error:  # those of Rust's panics are no Exceptions
        if clear(error):
            raise
        raise AssertionError(f"{what}: {error!r:.500}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", [*FORMATS, *PROGRAMS])
def test_damaged_files_load_or_give_one_clear_error(tmp_path, specimens, name):
    whole = specimens[name]
    path, refused, cases = tmp_path / f"x{whole.ending}", 0, -(-CASES // (len(FORMATS) + len(PROGRAMS)))
    path.write_bytes(whole.whole)
    load_generator(path)
    with little_memory():
        for seed in range(cases):
            path.write_bytes(mutant(name, seed, whole))
            try:
                with watched(f"mutant({name!r}, {seed}, ...)"):
                    load_generator(path)
            except CheckpointError:
                refused += 1
    assert 0 < refused < cases

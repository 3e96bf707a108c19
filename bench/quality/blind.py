"""Blind preferences: pairs of pictures in random order, a sealed key, and the evaluation of answers.

    python -m bench.quality.blind make "earlier default, exact" recommended --truth
    python -m bench.quality.blind score out/blind/answers.json --who "one reader of the sheets"

`make` reads the pictures that `make quality` wrote to out/quality. The reader compares A and B in 001.jpg, 002.jpg, ...
and writes A, B or = for each number into answers.json. `score` opens the key, prints in which share of the pairs each
row is preferred, and adds it to bench/PREFERENCES.json, which the table reads.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
import zlib
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pulse_core.errors import PulseError, SettingError
from pulse_core.files import whole_file
from pulse_core.pictures.images import read_image

from .measure import Case
from .sheets import resized, save_jpeg, titled

ROOT = Path(__file__).resolve().parents[2]
PICTURES, FOLDER = ROOT / "out" / "quality", ROOT / "out" / "blind"
PREFERENCES = ROOT / "bench" / "PREFERENCES.json"
KEY, ANSWERS = "key.sealed", "answers.json"
SIDES = ("A", "B", "=")

Key = dict[str, Any]
Preference = dict[str, Any]


def make(
    rows: Sequence[str], folder: Path, pictures: Path = PICTURES, *, lr: int = 32, seed: int = 0, truth: bool = False
) -> int:
    """Writes a picture for each pair of rows and each target of both, the key, and empty answers.

    Args:
        rows: two or more; all pairs of them are shown.
        seed: for the order of the pairs and of A and B.
        truth: whether to show the true face beside the pair.

    Returns: the number of pairs.

    Raises:
        SettingError: fewer than two rows, or no target with pictures of two rows.
    """
    suffix = {row: f"|{lr}|clean|{row}|0.png" for row in rows}
    has = {row: {path.name.removesuffix(end) for path in pictures.glob(f"*{end}")} for row, end in suffix.items()}
    pairs = [(target, *pair) for pair in combinations(rows, 2) for target in sorted(has[pair[0]] & has[pair[1]])]
    if not pairs:
        raise SettingError(
            f"There is no pair of pictures of {' and '.join(rows) or 'no rows'} at {lr} pixels.",
            "two rows or more with pictures in out/quality.",
            "make them first, for example with `make quality ARGS='--sizes 32 --clean'`.",
        )
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pairs), generator=random).tolist()
    key: Key = {"lr": lr, "seed": seed, "truth": truth, "pairs": {}}
    for number, place in enumerate(order, 1):
        target, *shown = pairs[place]
        if float(torch.rand((), generator=random)) < 0.5:
            shown.reverse()
        key["pairs"][str(number)] = {"target": target, "A": shown[0], "B": shown[1]}
        images = [read_image(pictures / f"{Case(target, lr, 'clean', row, 0).key}.png") for row in shown]
        true = read_image(pictures / f"{target}.png") if truth else None
        save_jpeg(titled(*_columns(images, true)), folder / f"{number:03d}.jpg", 95)
    (folder / KEY).write_bytes(seal(key))
    (folder / ANSWERS).write_text(json.dumps(dict.fromkeys(key["pairs"], ""), indent=1) + "\n")
    return len(pairs)


def _columns(images: Sequence[Tensor], truth: Tensor | None) -> tuple[list[Tensor], list[str]]:
    """A, a white gap, B, and the truth on the right if given; and their titles."""
    side = images[0].shape[-1]
    gap = torch.ones(3, side, max(1, side // 64))
    columns, titles = [images[0], gap, images[1]], ["A", "", "B"]
    if truth is None:
        return columns, titles
    small = F.pad(resized(truth, max(1, side // 2)), (0, 0, 0, side - max(1, side // 2)), value=1.0)
    return [*columns, gap, small], [*titles, "", "the true face"]


def seal(key: Key) -> bytes:
    """The key, encoded so that it is not read by accident."""
    return base64.b64encode(zlib.compress(json.dumps(key).encode())) + b"\n"


def unseal(data: bytes) -> Key:
    """The key of bytes that `seal` returned.

    Raises:
        SettingError: these are other bytes.
    """
    try:
        key: Key = json.loads(zlib.decompress(base64.b64decode(data)))
    except (ValueError, zlib.error) as error:
        raise SettingError(
            "The key cannot be read.", "the key.sealed that `make` wrote.", "make pairs again."
        ) from error
    return key


def score(answers: dict[str, str], key: Key) -> list[Preference]:
    """For each pair of rows, how often one, the other or neither is preferred.

    Args:
        answers: A, B or = by the number of the pair; empty ones are ignored.

    Raises:
        SettingError: an unknown number or answer, or no answer.
    """
    wrong = {
        number: given for number, given in answers.items() if number not in key["pairs"] or given not in (*SIDES, "")
    }
    if wrong or not any(answers.values()):
        raise SettingError(
            f"The answers are {wrong or 'empty'}.",
            f"A, B or = for the numbers 1 to {len(key['pairs'])}.",
            "answer at least one pair, by its number.",
        )
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for number, given in answers.items():
        pair = key["pairs"][number]
        first, second = sorted((pair["A"], pair["B"]))
        votes = counts.setdefault((first, second), {first: 0, second: 0, "=": 0})
        if given:
            votes[pair.get(given, "=")] += 1
    return [
        {"rows": list(rows), "lr": key["lr"], "truth": key["truth"], "votes": votes}
        for rows, votes in counts.items()
        if any(votes.values())
    ]


def preferences(path: Path) -> list[Preference]:
    """The stored preferences; none if there is no file."""
    stored: list[Preference] = json.loads(path.read_text()) if path.is_file() else []
    return stored


def share(preference: Preference, row: str) -> float:
    """The share of the pairs in which the row is preferred; ties count half."""
    votes = preference["votes"]
    return float((votes[row] + votes["="] / 2) / sum(votes.values()))


def store(found: Sequence[Preference], key: Key, who: str, path: Path = PREFERENCES) -> None:
    """Adds preferences to the file. Those of the same key and reader are replaced."""
    name = hashlib.sha256(seal(key)).hexdigest()[:12]
    others = [each for each in preferences(path) if (each["key"], each["who"]) != (name, who)]
    with whole_file(path) as file:
        file.write_text(json.dumps([*others, *({**each, "who": who, "key": name} for each in found)], indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.blind", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write pairs and a sealed key")
    making.add_argument("rows", nargs="+", metavar="ROW")
    making.add_argument("--lr", type=int, default=32, help="pixels of the inputs (default 32)")
    making.add_argument("--seed", type=int, default=0, help="for the order of the pairs and of A and B (default 0)")
    making.add_argument("--truth", action="store_true", help="show the true face as well")
    making.add_argument("-o", "--output", type=Path, default=FOLDER)
    scoring = commands.add_parser("score", help="open the key beside the answers, and store the preferences")
    scoring.add_argument("answers", type=Path)
    scoring.add_argument("--who", default="one reader", help="the reader, for the table")
    args = parser.parse_args(argv)
    if args.command == "make":
        count = make(args.rows, args.output, lr=args.lr, seed=args.seed, truth=args.truth)
        print(f"{count} pairs in {args.output}; write A, B or = into {ANSWERS}")
        return
    key = unseal((args.answers.parent / KEY).read_bytes())
    found = score(json.loads(args.answers.read_text()), key)
    store(found, key, args.who)
    for each in found:
        first, second = each["rows"]
        total = sum(each["votes"].values())
        print(f"{total} pairs at {each['lr']}: {first} {share(each, first):.0%}, {second} {share(each, second):.0%}")


if __name__ == "__main__":
    try:
        main()
    except (PulseError, OSError, json.JSONDecodeError) as error:
        sys.exit(str(error))

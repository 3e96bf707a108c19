"""`make quality`: searches for each case that the JSON file does not have yet, then writes table and sheets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from bench.scorers.identity import ASSETS, Identity, fetch
from pulse_core.catalogue import DEFAULT_GENERATOR
from pulse_core.degradations.bicubic import downsample
from pulse_core.files import whole_file
from pulse_core.images import read_image, save_image
from pulse_core.memory import keep_freed_memory
from pulse_core.pipeline import load_with_fit

from .measure import Case, measure
from .rows import BICUBIC, EXACT, MAIN, ROWS, SHORT, SPREAD, STEPS, settings
from .sheets import write_sheets
from .table import Cell, write_table
from .targets import SPOILED, Target, faces

HERE = Path(__file__).resolve().parent.parent
CACHE = HERE.parent / "out" / "quality"
THUMB = 512  # pixels of the pictures that are kept for the sheets


def cases(targets: list[Target], *, quick: bool) -> Iterator[Case]:
    """The most telling first, so that a stopped run has them."""
    names = [target.name for target in targets]
    main = (BICUBIC, *MAIN)
    for name in names[:2] if quick else names:
        yield from (Case(name, 32, "clean", row, 0) for row in main)
    if quick:
        return
    photograph, face, *rest = few = [names[0], *names[2:4]]
    others = [row for row in ROWS if row not in (*main, EXACT, SHORT)]
    yield from (Case(photograph, 32, spoiling, row, 0) for spoiling in SPOILED for row in main)
    yield from (Case(name, 32, "clean", row, 1) for name in few[:2] for row in MAIN)  # the spread between seeds
    yield from (Case(name, 32, "clean", SHORT, 0) for name in names)
    yield from (Case(name, lr, "clean", row, 0) for lr in (64, 16, 128) for name in few for row in main)
    yield from (Case(photograph, 32, "clean", row, seed) for row in others for seed in _seeds(row))
    yield from (Case(face, 32, spoiling, row, 0) for spoiling in SPOILED for row in main)
    yield from (Case(face, 32, "clean", row, seed) for row in others for seed in _seeds(row))
    yield from (Case(name, 32, spoiling, row, 0) for spoiling in SPOILED for name in rest for row in main)
    yield from (Case(name, 32, "clean", row, 0) for name in rest for row in others)


def _seeds(row: str) -> tuple[int, ...]:
    return (0, 1) if row in SPREAD else (0,)


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(prog="make quality ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two targets, three rows, no files but the JSON")
    parser.add_argument(
        "--json", type=Path, default=CACHE / "cells.json", help="kept between runs: cells are not repeated"
    )
    parser.add_argument("--generated", type=int, default=6, metavar="N", help="generated targets")
    parser.add_argument("--only", metavar="ROW", help="only this row")
    args = parser.parse_args()
    keep_freed_memory()
    if not ASSETS.is_dir():
        fetch()
    identity, (generator, gaussian) = Identity.load(), load_with_fit(DEFAULT_GENERATOR)
    targets = list(faces(generator, args.generated))
    cells: dict[str, Cell] = json.loads(args.json.read_text()) if args.json.is_file() else {}
    known = {target.name: target for target in targets}
    wanted = [case for case in cases(targets, quick=args.quick) if args.only in (None, case.row)]
    for case in tqdm([case for case in wanted if _stale(case, cells)]):
        if same := _already(case, cells):
            cells[case.key] = same
        else:
            for scores, image in measure(case, known[case.target], ROWS[case.row], generator, gaussian, identity):
                _keep(image, scores["key"])
                cells[scores["key"]] = scores | _apart(replace(case, row=scores["row"]), image)
        _write(args.json, cells)
    for target in targets:
        _keep(target.truth, target.name)
    if not args.quick:
        write_sheets(HERE / "sheets", CACHE, targets)
        write_table(HERE / "QUALITY.md", list(cells.values()))
        _write(HERE / "QUALITY.json", cells)


def _stale(case: Case, cells: dict[str, Cell]) -> bool:
    """Not measured with these settings yet; or its picture, which costs nothing, was made elsewhere."""
    if case.row == BICUBIC and not (CACHE / f"{case.key}.png").is_file():
        return True
    return cells.get(case.key, {}).get("settings") != settings(case.row)


def _write(path: Path, cells: dict[str, Cell]) -> None:
    with whole_file(path) as file:
        file.write_text(json.dumps(cells, indent=1) + "\n")


def _already(case: Case, cells: dict[str, Cell]) -> Cell | None:
    """The cell of a short search, where the one that may go on did not: the same steps need not be taken twice."""
    longer = cells.get(replace(case, row="recommended").key)
    if case.row != SHORT or longer is None or longer["steps"] > STEPS:
        return None
    return longer | asdict(case) | {"key": case.key, "settings": settings(case.row)}


def _apart(case: Case, image: Tensor) -> dict[str, float]:
    """How far the picture is from the one of the seed before, where that was made: root mean square, of 255."""
    before = CACHE / f"{replace(case, seed=case.seed - 1).key}.png"
    if case.seed == 0 or not before.is_file():
        return {}
    error = _thumb(image) - read_image(before)[:3]
    return {"apart": 255 * float(error.square().mean().sqrt())}


def _keep(image: Tensor, name: str) -> None:
    save_image(_thumb(image), CACHE / f"{name}.png")


def _thumb(image: Tensor) -> Tensor:
    return downsample(image, size=(THUMB, THUMB)).clamp(0, 1)


if __name__ == "__main__":
    main()

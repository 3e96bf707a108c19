"""`make quality`: runs the searches that the JSON file does not have, then writes the table and the sheets."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from bench.scorers.identity import ASSETS, Identity, fetch
from pulse_core.cli.memory import keep_freed_memory
from pulse_core.degradations.bicubic import downsample
from pulse_core.files import whole_file
from pulse_core.loading.catalogue import DEFAULT_GENERATOR
from pulse_core.pictures.images import read_image, save_image
from pulse_core.pipeline import load_with_fit

from .blind import PREFERENCES, preferences
from .cases import SIZES, cases
from .measure import Case, measure, scores
from .rows import BICUBIC, ROWS, settings
from .sheets import write_full, write_sheets
from .table import Cell, write_table
from .targets import Target, degraded_and_clean, faces

HERE = Path(__file__).resolve().parent.parent
CACHE = HERE.parent / "out" / "quality"
EARLIER_CELLS = Path(__file__).with_name("earlier.json")  # cells of an earlier search
THUMB = 512  # size in pixels at which the pictures of two seeds are compared


def arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="make quality ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three portraits, three rows, no files but the JSON")
    parser.add_argument("--json", type=Path, help="its cells are not computed again (bench/QUALITY.json)")
    parser.add_argument("--generated", type=int, default=6, metavar="N", help="generated targets")
    parser.add_argument("--only", metavar="ROW", help="only this row")
    parser.add_argument("--targets", nargs="+", metavar="NAME", help="only these targets")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="LR", help="only inputs of these sizes")
    parser.add_argument("--clean", action="store_true", help="only inputs without a degradation")
    parser.add_argument("--no-search", action="store_true", help="only write table and sheets")
    parser.add_argument("--rescore", action="store_true", help="only score the pictures in out/quality again")
    parser.add_argument("--full", action="store_true", help="also write every target at full size into out/sheets")
    args = parser.parse_args()
    args.json = args.json or (CACHE / "cells.json" if args.quick else HERE / "QUALITY.json")
    return args


def main() -> None:
    """Runs the missing searches, and writes the files."""
    args = arguments()
    keep_freed_memory()
    if not ASSETS.is_dir():
        fetch()
    identity, (generator, gaussian) = Identity.load(), load_with_fit(DEFAULT_GENERATOR)
    known = {target.name: target for target in faces(generator, args.generated)}
    cells: dict[str, Cell] = json.loads(args.json.read_text()) if args.json.is_file() else {}
    for target in known.values():
        _save(target.truth, target.name)
    if args.rescore:
        for path in (args.json, EARLIER_CELLS):
            _rescore(path, known, identity)
        return
    wanted = [case for case in cases(list(known.values()), quick=args.quick) if _is_selected(case, args)]
    for case in tqdm([] if args.no_search else [case for case in wanted if _stale(case, cells)]):
        found, image = measure(case, known[case.target], ROWS[case.row], generator, gaussian, identity)
        _save(image, case.key)
        cells[case.key] = found | _difference(case, image)
        _write(args.json, cells)
    if not args.quick:
        write_sheets(HERE / "sheets", CACHE, list(known.values()), SIZES)
        shown = [cell for cell in cells.values() if cell["row"] in ROWS and cell["settings"] == settings(cell["row"])]
        kept = json.loads(EARLIER_CELLS.read_text()).values()
        write_table(HERE / "QUALITY.md", [*shown, *kept], preferences(PREFERENCES))
    if args.full:
        write_full(CACHE.parent / "sheets", CACHE, list(known.values()), SIZES)


def _is_selected(case: Case, args: argparse.Namespace) -> bool:
    row, named = args.only in (None, case.row), args.targets is None or case.target in args.targets
    size = args.sizes is None or case.lr in args.sizes
    return row and named and size and (not args.clean or case.spoiling == "clean")


def _rescore(path: Path, known: dict[str, Target], identity: Identity) -> None:
    """Scores existing pictures again, after a scorer has changed."""
    cells: dict[str, Cell] = json.loads(path.read_text())
    for key, cell in tqdm(cells.items(), desc=path.name):
        picture, target = CACHE / f"{key}.png", known.get(cell["target"])
        if target is not None and picture.is_file():
            case = Case(*(cell[name] for name in ("target", "lr", "spoiling", "row", "seed")))
            degraded, clean = degraded_and_clean(target, case.spoiling, case.lr)
            again = scores(case, target, read_image(picture)[:3], degraded, clean, identity)
            cells[key] = cell | again | {"clean_l2": cell["clean_l2"]}  # that of the picture before rounding
    _write(path, cells)


def _stale(case: Case, cells: dict[str, Cell]) -> bool:
    """Whether a cell is missing, has other settings, or is a bicubic one without its picture, which costs nothing."""
    if case.row == BICUBIC and not (CACHE / f"{case.key}.png").is_file():
        return True
    return cells.get(case.key, {}).get("settings") != settings(case.row)


def _write(path: Path, cells: dict[str, Cell]) -> None:
    with whole_file(path) as file:
        file.write_text(json.dumps(cells, indent=1) + "\n")


def _difference(case: Case, image: Tensor) -> dict[str, float]:
    """The root mean square difference from the picture of the seed before, of 255, if there is one."""
    before = CACHE / f"{replace(case, seed=case.seed - 1).key}.png"
    if case.seed == 0 or not before.is_file():
        return {}
    error = _thumb(image) - _thumb(read_image(before)[:3])
    return {"apart": 255 * float(error.square().mean().sqrt())}


def _save(image: Tensor, name: str) -> None:
    """Saves a picture for sheets and blind pairs, by the name of a target or the key of a result."""
    save_image(image, CACHE / f"{name}.png")


def _thumb(image: Tensor) -> Tensor:
    side = min(THUMB, image.shape[-1])
    return downsample(image, size=(side, side)).clamp(0, 1)


if __name__ == "__main__":
    main()

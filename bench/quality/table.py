"""Writes bench/QUALITY.md from the cells."""

from __future__ import annotations

import datetime
import math
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.scorers.realism import separability
from pulse_core.files import whole_file
from pulse_core.pictures.images import NOTICE

from .blind import Preference, share
from .rows import EARLIER, MAIN, ROWS
from .targets import INPUT_DEGRADATIONS, KINDS, PORTRAIT, TRUNCATION

Cell = dict[str, Any]

INTRODUCTION = """# How good the faces are

{notice}

Written by `make quality` on {date} with torch {torch} on {machine} ({threads} threads). Means over the targets; ± is
half of the 95 % confidence interval. The scores (`bench/scorers`) are of the returned picture; searches do not use
them. The single results are in `QUALITY.json`.

| column | meaning | better |
| --- | --- | --- |
| found 2e-3, 1e-3 | share of results with this mean squared error or the noise variance, before the correction | more |
| consistency | mean squared error of the downscaled result against the clean small picture, times 1e-5 | less |
| worst | largest error of the downscaled 8-bit picture against its input, of 255 | less |
| within 1 | results whose largest error is at most 1 of 255 | all |
| residual | root mean square of the residual r, of 255, in the face / in all | less |
| distance | root mean square of the whitened latent; samples of the generator have 1 | close to 1 |
| NIQE | naturalness, without reference; `gap` is the difference from the truth's NIQE | smaller gap |
| identity | distance to the true face; below 0.6 means the same person | less |
| natural | realism (`bench/scorers/realism.py`): 1 as a natural sample, 0 as a corrupted one | like the truth |
| separability | AUC of a classifier between results and truths, cross-validated over the targets | 0.5 |
| preferred | share of blind pairs in which this row was preferred to another row of the section | more |

**portraits** are official photographs (`bench/photographs/`); settings may be tuned on the first twelve, never on the
four held-out ones ("kept apart"). **photographs** are those of Collins and Hopper, detected and aligned. **generated**
targets are samples of the generator (truncation {truncation}) whose seeds the fit does not use. Rows that begin with
**{earlier}** are of the search of 2026-11-26.
"""

HEAD = (
    "row | n | found 2e-3 | found 1e-3 | consistency | worst | within 1 | residual | distance | NIQE | gap | identity "
    "| natural | separability | preferred | s | MB"
)
AT_LEAST = 4  # targets that cross-validation needs


def write_table(path: Path, cells: list[Cell], preferences: Sequence[Preference] = ()) -> None:
    """Writes all tables."""
    metadata = {
        "notice": NOTICE,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()} {platform.system()}",
        "threads": torch.get_num_threads(),
        "truncation": TRUNCATION,
        "earlier": EARLIER,
    }
    first = [cell for cell in cells if cell["seed"] == 0]
    parts = [INTRODUCTION.format(**metadata)]
    for spoiling in ("clean", *INPUT_DEGRADATIONS):
        for kind in KINDS:
            some = [cell for cell in first if cell["kind"] == kind and cell["spoiling"] == spoiling]
            for lr in sorted({cell["lr"] for cell in some}):
                title = f"{kind}, {lr}x{lr}" + ("" if spoiling == "clean" else f", {spoiling}")
                shown = preferences if spoiling == "clean" and kind == PORTRAIT else ()
                parts.append(_section(title, [cell for cell in some if cell["lr"] == lr], shown))
    parts += [_blind(preferences), _spread(cells)]
    with whole_file(path) as file:
        file.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _section(title: str, cells: list[Cell], preferences: Sequence[Preference]) -> str:
    lines = [f"## {title[0].upper()}{title[1:]}\n", f"| {HEAD} |", "| --- |" + " --: |" * HEAD.count(" | ")]
    for row in _rows(cells):
        votes = [_votes(each, row) for each in preferences if row in each["rows"] and each["lr"] == cells[0]["lr"]]
        lines.append(_line(row, [cell for cell in cells if cell["row"] == row], votes))
    return "\n".join([*lines, _truth(cells)]) + "\n"


def _rows(cells: Iterable[Cell]) -> list[str]:
    """The rows that are there, in the order of ROWS, with the kept ones before "recommended"."""
    there = dict.fromkeys(cell["row"] for cell in cells)
    kept = [row for row in there if row not in ROWS]
    order = [row for row in ROWS if row in there]
    place = next((i for i, row in enumerate(order) if row.startswith("recommended")), len(order))
    return [*order[:place], *kept, *order[place:]]


def _line(row: str, cells: list[Cell], votes: list[tuple[float, int]]) -> str:
    def column(read: Callable[[Cell], float | None], form: str) -> str:
        values = [value for cell in cells if (value := read(cell)) is not None]
        return _mean(values, form) if values else "-"

    def found(eps: float) -> str:
        values = [cell["l2"] <= max(eps, cell.get("floor", 0.0)) for cell in cells if "l2" in cell]
        return f"{sum(values) / len(values):.0%}" if values else "-"

    parts = [
        row,
        str(len(cells)),
        found(2e-3),
        found(1e-3),
        column(lambda cell: cell["clean_l2"] * 1e5, ".0f"),
        column(lambda cell: cell.get("worst"), ".1f"),
        _within([cell["worst"] for cell in cells if cell.get("worst") is not None]),
        f"{column(_residual('face'), '.1f')} / {column(_residual('all'), '.1f')}",
        column(lambda cell: cell.get("distance"), ".2f"),
        column(lambda cell: cell["niqe"], ".2f"),
        column(_gap, ".2f"),
        column(lambda cell: cell.get("identity"), ".3f"),
        column(lambda cell: cell.get("natural"), ".2f"),
        _separability(cells),
        f"{sum(part * n for part, n in votes) / sum(n for _, n in votes):.0%}" if votes else "-",
        column(lambda cell: cell["seconds"], ".0f"),
        column(lambda cell: cell["peak_mb"], ".0f") if row in MAIN else "-",
    ]
    return "| " + " | ".join(parts) + " |"


def _truth(cells: list[Cell]) -> str:
    """The scores of the truths themselves."""
    targets = {cell["target"]: cell for cell in sorted(cells, key=lambda cell: "true_natural" in cell)}
    niqe = [cell["true_niqe"] for cell in targets.values() if cell["true_niqe"] is not None]
    natural = [cell["true_natural"] for cell in targets.values() if "true_natural" in cell]
    shown = {"row": "(truth)", "n": str(len(targets))}
    shown |= {"NIQE": _mean(niqe, ".2f")} if niqe else {}
    shown |= {"natural": _mean(natural, ".2f")} if natural else {}
    return "| " + " | ".join(shown.get(name, "-") for name in HEAD.split(" | ")) + " |"


def _residual(where: str) -> Callable[[Cell], float | None]:
    def read(cell: Cell) -> float | None:
        share = cell.get(f"residual_{where}")
        return None if share is None else 255 * share

    return read


def _gap(cell: Cell) -> float | None:
    return abs(cell["niqe"] - cell["true_niqe"]) if cell["niqe"] and cell["true_niqe"] else None


def _within(worst: list[float]) -> str:
    return f"{sum(error <= 1 for error in worst)}/{len(worst)}" if worst else "-"


def _separability(cells: list[Cell]) -> str:
    both = [(cell["true_features"], cell["features"]) for cell in cells if "features" in cell]
    if len(both) < AT_LEAST:
        return "-"
    truths, results = zip(*both, strict=True)
    return f"{separability(_numbers(truths), _numbers(results)):.2f}"


def _numbers(texts: Sequence[str]) -> torch.Tensor:
    return torch.tensor([[float(number) for number in text.split()] for text in texts])


def _votes(preference: Preference, row: str) -> tuple[float, int]:
    return share(preference, row), sum(preference["votes"].values())


def _blind(preferences: Sequence[Preference]) -> str:
    """The table of blind preferences."""
    if not preferences:
        return ""
    lines = [
        "## Blind preferences\n",
        "Pairs of pictures in unknown order (`python -m bench.quality.blind`).\n",
        "| size | row | against | pairs | preferred | neither | truth shown | reader |",
        "| --: | --- | --- | --: | --: | --: | --- | --- |",
    ]
    for each in preferences:
        first, second = sorted(each["rows"], key=lambda row: -each["votes"][row])
        total, shown = sum(each["votes"].values()), "yes" if each["truth"] else "no"
        numbers = f"{total} | {share(each, first):.0%} | {each['votes']['=']}"
        lines.append(f"| {each['lr']} | {first} | {second} | {numbers} | {shown} | {each['who']} |")
    return "\n".join(lines) + "\n"


def _mean(values: list[float], form: str) -> str:
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:{form}}"
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{mean:{form}} ± {1.96 * spread / math.sqrt(len(values)):{form}}"


def _spread(cells: list[Cell]) -> str:
    """The table of differences between two seeds."""
    spread = {row: [cell["apart"] for cell in cells if cell["row"] == row and "apart" in cell] for row in _rows(cells)}
    lines = [f"| {row} | {len(values)} | {_mean(values, '.1f')} |" for row, values in spread.items() if values]
    if not lines:
        return ""
    head = "## Spread between two seeds\n\nRoot mean square over the pixels.\n\n"
    return head + "\n".join(["| row | n | RMS difference, of 255 |", "| --- | --: | --: |", *lines]) + "\n"

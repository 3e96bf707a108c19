"""bench/QUALITY.md out of the cells."""

from __future__ import annotations

import datetime
import math
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.scorers.realism import told_apart
from pulse_core.files import whole_file
from pulse_core.pictures.images import NOTICE

from .blind import Preference, share
from .rows import EARLIER, MAIN, ROWS
from .targets import KINDS, PORTRAIT, SPOILED, TRUNCATION

Cell = dict[str, Any]

INTRODUCTION = """# How good the faces are

{notice}

Written by `make quality` on {date} with torch {torch} on {machine} ({threads} threads). Means, and behind ± the half
width of a 95 % interval over the targets. The scores are those of `bench/scorers` and no search looks at them. They
are of the picture that is returned. Cell by cell: `QUALITY.json`.

| column | says | better |
| --- | --- | --- |
| found 2e-3, 1e-3 | share of results within this mean squared error, or the noise's own, before any correction | more |
| consistency | mean squared error of the result, scaled down, against the clean small picture, times 1e-5 | less |
| worst | how far the written 8-bit picture, scaled down, is from its input at the worst pixel, of 255 | less |
| within 1 | how many results are nowhere farther than 1 of 255 | all |
| residual | what a correction carries for the generator: root mean square, of 255, in the face / all | less |
| distance | of the latent from what the generator draws, which is 1 | close to 1 |
| NIQE | naturalness, judged without the truth; `gap` is how far it is from the truth's own | smaller gap |
| identity | distance to the true face; below 0.6 dlib says one person | less |
| natural | the judge of `bench/scorers/realism.py`: 1 is like a natural draw, 0 like a spoiled one | like the truth |
| told apart | how well a classifier on the judge's features tells results from truths; by target, held out | 0.5 |
| preferred | share of blind pairs in which this row was preferred to another one of the section | more |

**portraits** are official photographs (`bench/photographs/`); settings may be chosen by the first twelve, never by the
four that are kept apart. **photographs** are two old friends, found and aligned. **generated** targets are faces
(truncation {truncation}) whose latents the fit has not seen: what the generator can draw. Rows that begin with
**{earlier}** were made by the search of 2026-11-26 and are kept for comparison.
"""

HEAD = (
    "row | n | found 2e-3 | found 1e-3 | consistency | worst | within 1 | residual | distance | NIQE | gap | identity "
    "| natural | told apart | preferred | s | MB"
)
AT_LEAST = 4  # targets, for a classifier to be cross-validated


def write_table(path: Path, cells: list[Cell], preferences: Sequence[Preference] = ()) -> None:
    """All tables, one after the other."""
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
    for spoiling in ("clean", *SPOILED):
        for kind in KINDS:
            some = [cell for cell in first if cell["kind"] == kind and cell["spoiling"] == spoiling]
            for lr in sorted({cell["lr"] for cell in some}):
                title = f"{kind}, {lr}x{lr}" + ("" if spoiling == "clean" else f", {spoiling}")
                liked = preferences if spoiling == "clean" and kind == PORTRAIT else ()
                parts.append(_section(title, [cell for cell in some if cell["lr"] == lr], liked))
    parts += [_blind(preferences), _spread(cells)]
    with whole_file(path) as file:
        file.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _section(title: str, cells: list[Cell], preferences: Sequence[Preference]) -> str:
    lines = [f"## {title[0].upper()}{title[1:]}\n", f"| {HEAD} |", "| --- |" + " --: |" * HEAD.count(" | ")]
    for row in _rows(cells):
        liked = [_liked(each, row) for each in preferences if row in each["rows"] and each["lr"] == cells[0]["lr"]]
        lines.append(_line(row, [cell for cell in cells if cell["row"] == row], liked))
    return "\n".join([*lines, _truth(cells)]) + "\n"


def _rows(cells: Iterable[Cell]) -> list[str]:
    """Those that are searched for in their order, before "recommended" the kept ones."""
    there = dict.fromkeys(cell["row"] for cell in cells)
    kept = [row for row in there if row not in ROWS]
    order = [row for row in ROWS if row in there]
    place = next((i for i, row in enumerate(order) if row.startswith("recommended")), len(order))
    return [*order[:place], *kept, *order[place:]]


def _line(row: str, cells: list[Cell], liked: list[tuple[float, int]]) -> str:
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
        _told_apart(cells),
        f"{sum(part * n for part, n in liked) / sum(n for _, n in liked):.0%}" if liked else "-",
        column(lambda cell: cell["seconds"], ".0f"),
        column(lambda cell: cell["peak_mb"], ".0f") if row in MAIN else "-",
    ]
    return "| " + " | ".join(parts) + " |"


def _truth(cells: list[Cell]) -> str:
    """What the truths themselves score."""
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


def _told_apart(cells: list[Cell]) -> str:
    both = [(cell["true_features"], cell["features"]) for cell in cells if "features" in cell]
    if len(both) < AT_LEAST:
        return "-"
    truths, results = zip(*both, strict=True)
    return f"{told_apart(_numbers(truths), _numbers(results)):.2f}"


def _numbers(texts: Sequence[str]) -> torch.Tensor:
    return torch.tensor([[float(number) for number in text.split()] for text in texts])


def _liked(preference: Preference, row: str) -> tuple[float, int]:
    return share(preference, row), sum(preference["votes"].values())


def _blind(preferences: Sequence[Preference]) -> str:
    """Who was preferred to whom."""
    if not preferences:
        return ""
    lines = [
        "## Blind preferences\n",
        "Pairs of pictures whose makers the reader did not know (`python -m bench.quality.blind`).\n",
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
    """How far the pictures of two seeds lie apart."""
    apart = {row: [cell["apart"] for cell in cells if cell["row"] == row and "apart" in cell] for row in _rows(cells)}
    lines = [f"| {row} | {len(values)} | {_mean(values, '.1f')} |" for row, values in apart.items() if values]
    if not lines:
        return ""
    head = "## Spread between two seeds\n\nRoot mean square over the pixels.\n\n"
    return head + "\n".join(["| row | n | apart, of 255 |", "| --- | --: | --: |", *lines]) + "\n"

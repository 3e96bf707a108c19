"""bench/QUALITY.md out of the cells."""

from __future__ import annotations

import datetime
import math
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from pulse_core.files import whole_file
from pulse_core.images import NOTICE

from .rows import MAIN, ROWS, SHORT, STEPS
from .targets import SPOILED, TRUNCATION

Cell = dict[str, Any]

INTRODUCTION = """# How good the faces are

{notice}

Written by `make quality` on {date} with torch {torch} on {machine} ({threads} threads). Searches take {steps}
steps of the default generator, where the name says nothing else. But for **published** most of them look at a coarse
picture, at a part of the cost, and stop early where the face is found and has settled; **recommended** goes on where it
is not found, up to twice as long ("{short}" does not). Means, and behind ± the half width of a
95 % interval over the targets. The scores are those of `bench/scorers` and no search looks at them. Cell by cell:
`QUALITY.json`.

| column | says | better |
| --- | --- | --- |
| found 2e-3, 1e-3 | share of results within this mean squared error, or the noise's own, before any correction | more |
| consistency | mean squared error of the result, scaled down, against the clean small picture, times 1e-5 | less |
| distance | of the latent from what the generator draws, which is 1 | close to 1 |
| NIQE | naturalness, judged without the truth; `gap` is how far it is from the truth's own | smaller gap |
| identity | distance to the true face; below 0.6 dlib says one person | less |

The targets are generated faces (truncation {truncation}), whose latents the fit and the start regression have not
seen, and two photographs, aligned. Generated targets are what the generator can draw; photographs are the honest test.
"""


def write_table(path: Path, cells: list[Cell]) -> None:
    """All tables, one after the other."""
    facts = {
        "notice": NOTICE,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()} {platform.system()}",
        "threads": torch.get_num_threads(),
        "steps": STEPS,
        "short": SHORT,
        "truncation": TRUNCATION,
    }
    first = [cell for cell in cells if cell["seed"] == 0]
    parts = [INTRODUCTION.format(**facts)]
    for kind in ("generated", "photograph"):
        for lr in sorted({cell["lr"] for cell in first}):
            chosen = [c for c in first if c["kind"] == kind and c["lr"] == lr and c["spoiling"] == "clean"]
            parts.append(_section(f"{kind}, {lr}x{lr}", chosen))
    for spoiling in SPOILED:
        chosen = [cell for cell in first if cell["spoiling"] == spoiling]
        parts.append(_section(f"{spoiling}, {_sizes(chosen)}, all targets", chosen))
    parts.append(_spread(cells))
    with whole_file(path) as file:
        file.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _sizes(cells: list[Cell]) -> str:
    return ", ".join(f"{lr}x{lr}" for lr in sorted({cell["lr"] for cell in cells}))


def _section(title: str, cells: list[Cell]) -> str:
    if not cells:
        return ""
    lines = [
        f"## {title[0].upper()}{title[1:]}\n",
        "| row | n | found 2e-3 | found 1e-3 | consistency | distance | NIQE | gap | identity | s | MB |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in ROWS:
        if mine := [cell for cell in cells if cell["row"] == row]:
            lines.append(_line(row, mine))
    return "\n".join(lines) + "\n"


def _line(row: str, cells: list[Cell]) -> str:
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
        column(lambda cell: cell.get("distance"), ".2f"),
        column(lambda cell: cell["niqe"], ".2f"),
        column(
            lambda cell: abs(cell["niqe"] - cell["true_niqe"]) if cell["niqe"] and cell["true_niqe"] else None, ".2f"
        ),
        column(lambda cell: cell.get("identity"), ".3f"),
        column(lambda cell: cell["seconds"], ".0f"),
        column(lambda cell: cell["peak_mb"], ".0f") if row in MAIN else "-",
    ]
    return "| " + " | ".join(parts) + " |"


def _mean(values: list[float], form: str) -> str:
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:{form}}"
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{mean:{form}} ± {1.96 * spread / math.sqrt(len(values)):{form}}"


def _spread(cells: Iterable[Cell]) -> str:
    """How far the pictures of two seeds lie apart."""
    apart = {row: [cell["apart"] for cell in cells if cell["row"] == row and "apart" in cell] for row in ROWS}
    lines = [f"| {row} | {len(values)} | {_mean(values, '.1f')} |" for row, values in apart.items() if values]
    if not lines:
        return ""
    head = "## Spread between two seeds\n\nRoot mean square over the pixels.\n\n"
    return head + "\n".join(["| row | n | apart, of 255 |", "| --- | --: | --: |", *lines]) + "\n"

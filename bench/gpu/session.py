"""`make gpu`: all measurements on a GPU, in one process, with whole searches first, in a fresh process as for users."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bench.speed import sections

from . import parity, precision, searches, steps, waits
from .notebook import Notebook
from .plan import Plan, plan_for
from .report import report

HERE = Path(__file__).resolve().parent.parent
REHEARSAL = HERE.parent / "out" / "gpu"
Part = Callable[[Plan, Notebook], None]
PARTS: tuple[Part, ...] = (searches.measure, precision.measure, waits.measure, parity.measure, steps.measure)


def best_device() -> str:
    """CUDA, else MPS, else the CPU for a dry run."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def main(device: str | None, *, quick: bool, json: Path | None, reference: Path | None, minutes: float) -> None:
    """Measures, prints, and writes RESULTS.gpu.json and the section of RESULTS.md; a dry run writes to out/gpu.

    Args:
        device: None chooses the best one.
        json: another file for the rows.
    """
    where = torch.empty(0, device=device or best_device()).device  # with its index
    folder = REHEARSAL if where.type == "cpu" else HERE
    plan = plan_for(where, quick=quick, reference=reference, minutes=minutes)
    notes = run(plan, json or folder / "RESULTS.gpu.json", folder / "RESULTS.md")
    print(report(notes.metadata, notes.rows))


def run(plan: Plan, json: Path | None, results: Path | None, parts: Sequence[Part] = PARTS) -> Notebook:
    """Runs one part after the other, and writes the tables after each."""
    notes = Notebook(plan.device, json, plan.minutes)
    gc.freeze()  # memory is freed often, and each collection would scan all of torch
    try:
        for part in parts:
            part(plan, notes)
            if results is not None:
                sections.write(results, sections={sections.GPU: report(notes.metadata, notes.rows)})
    finally:
        gc.unfreeze()
    return notes

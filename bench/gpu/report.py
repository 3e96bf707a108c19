"""The section "On a card" of bench/RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from bench.speed.table import table

from .notebook import Row
from .parity import KINDS

HEAD = """## On a card

Written by `make gpu` on {date}: {machine}. Everything in one process. Peaks that it showed: {peaks}.
{dry_run}"""
DRY_RUN = "**A dry run on a CPU: its numbers mean nothing.**\n"

STEPS = """A step of the published settings, with its gradient (full), and a low-resolution one between two full ones
(low), without the encoder; a search step is the mean of the recommended search, whose every 16th is full as well. Each
is a loop with one wait at its end, divided by its steps. "Without" leaves one optimization out; off: `channels_last`,
`graphs`, `kernels`, `half` and `layers`. A search leaves TF32 off; the plain loop and the published code are compared
with as torch starts, with it. MB is the peak of torch's memory. Floor: what the convolutions and matrix products would
take at the peaks above, each bound by its arithmetic or its memory, as a share of the step; in 16 bits: of these."""


def report(metadata: Row, rows: list[Row]) -> str:
    """All tables, of what has been measured so far."""
    tables = (_steps, _searches, _precision, _waits, _parity, _failed)
    parts = [_head(metadata, rows), *(each(rows) for each in tables)]
    return "\n".join(part for part in parts if part)


def _of(rows: Iterable[Row], part: str, **wanted: Any) -> list[Row]:
    return [
        row
        for row in rows
        if row["part"] == part and "failed" not in row and all(row.get(name) == value for name, value in wanted.items())
    ]


def _head(metadata: Row, rows: list[Row]) -> str:
    machine = [
        metadata["name"],
        f"driver {metadata['driver']}" if metadata.get("driver") else "",
        f"torch {metadata['torch']}",
    ]
    peaks = "not measured"
    for found in _of(rows, "peaks"):
        peaks = ", ".join(f"{name} {found[name] / 1e12:.1f} TFLOP/s" for name in ("float32", "tf32", "float16"))
        peaks += f", copying {found['copy'] / 1e9:.0f} GB/s"
    dry_run = DRY_RUN if metadata["device"] == "cpu" else f"\n{metadata['note']}\n" if "note" in metadata else ""
    summary = ", ".join(part for part in machine if part)
    return HEAD.format(date=metadata["date"], machine=summary, peaks=peaks, dry_run=dry_run)


def _number(row: Row, name: str, form: str = ".2f") -> str:
    return "-" if row.get(name) is None else f"{row[name]:{form}}"


def _share(row: Row, kind: str) -> str:
    floor, taken = row.get(f"{kind}_floor_ms"), row.get(f"{kind}_ms")
    return f"{floor / taken:.0%}" if floor and taken else "-"


def _steps(rows: list[Row]) -> str:
    known = _of(rows, "steps")

    def line(row: Row) -> list[str]:
        alike = {"case": row["case"], "batch": row["batch"], "tf32": True}
        times = []
        for other in ("plain loop", "published code"):
            slow = next((each["full_ms"] for each in _of(known, "steps", row=other, **alike)), None)
            times.append("-" if slow is None else f"{slow / row['full_ms']:.1f}")
        search = _number(row, "search_ms") + ("" if row.get("stayed_low", True) else " (all full in the end)")
        numbers = [_number(row, "full_ms"), _number(row, "low_ms"), search, *times]
        memory = [_number(row, name, ".0f") for name in ("full_mb", "low_mb")]
        name = f"{row['row']}, TF32" if row["tf32"] else row["row"]
        name += "".join(f" ({each} failed, and is not used)" for each in row.get("not used", ()))
        memory += [_share(row, "full"), _share(row, "low"), _number(row, "low_in_16_bits", ".0%")]
        return [row["case"], str(row["batch"]), name, *numbers, *memory]

    names = ["generator", "B", "what", "full ms", "low ms", "search step ms", "full: faster than plain"]
    names += ["than published", "full MB", "low MB", "full: floor", "low: floor", "low: in 16 bits"]
    return table("Steps on a card", names, [line(row) for row in known], STEPS, level=3)


def _searches(rows: list[Row]) -> str:
    found = [row for row in _of(rows, "searches") if "found" in row]
    plain = next((each["full_ms"] for each in _of(rows, "steps", row="plain loop", batch=1, tf32=True)), None)

    def line(row: Row) -> list[str]:
        images = row["found"]
        each = row["seconds"] / len(images)
        l2 = median(image["search_l2"] for image in images)
        name = row.get("target", f"{len(images)} together")
        kind = {"first": " (the first: it warms up)", "batch, first": " (the first)"}.get(row["what"], "")
        return [
            name + kind,
            f"{sum(image['converged'] for image in images)} of {len(images)}",
            f"{l2:.5f}",
            f"{max(image['worst'] for image in images):.2f}",
            f"{row['seconds']:.2f}",
            f"{each:.2f}",
            "-" if plain is None else f"{0.1 * plain / each:.1f}",
        ]

    names = ["target", "found", "search L2", "worst pixel", "s", "s an image", "times less than the plain loop"]
    text = (
        "The recommended search of the default generator, for 32x32 targets of `make quality`. L2 is of the face, "
        "before the residual (of a batch its median); the worst pixel is of the written picture, in steps of 8 bits. "
        "The plain loop's time is 100 times its step with TF32, for one image."
    )
    return table("Whole searches", names, [line(row) for row in found], text, level=3)


def _precision(rows: list[Row]) -> str:
    found = _of(rows, "precision")

    def line(row: Row) -> list[str]:
        numbers = [f"{row['found']} of {row['searches']}", f"{median(row['l2s']):.5f}", f"{max(row['l2s']):.5f}"]
        return [row["row"], *numbers, f"{row['worst']:.2f}", f"{row['distance']:.3f}", f"{median(row['apart']):.3f}"]

    names = ["low-resolution steps in", "found", "median search L2", "largest", "worst pixel", "distance", "RMS"]
    text = (
        "Searches of the default generator for 32x32 targets of `make quality`, from two seeds, alike in everything "
        "else. RMS: of the pictures, colours in 0..1, from those of float32 with the same seed; other rounding: "
        "without the fused kernels, which shows the effect of any change of rounding."
    )
    return table("16-bit features", names, [line(row) for row in found], text, level=3)


def _waits(rows: list[Row]) -> str:
    def line(row: Row) -> list[str]:
        places = ", ".join(f"`{place}` {times}" for place, times in row["places"].items())
        return [row["what"], "on" if row["graphs"] else "off", str(row["waits"]), places or "-"]

    found = _of(rows, "waits")
    summary = next((f"{row['note']}.\n" for row in found if "note" in row), "")
    names = ["what", "graphs", "waits", "where, and how often"]
    text = "Operations that make the CPU wait for the card, after warming up; the search is of the recommended length."
    lines = [line(row) for row in found if "waits" in row]
    return table("Waits", names, lines, text, level=3) or (f"### Waits\n\n{summary}" if summary else "")


def _parity(rows: list[Row]) -> str:
    found = _of(rows, "parity")
    families = dict.fromkeys(row["family"] for row in found if "kind" in row)

    def cell(family: str, kind: str) -> str:
        rows = _of(found, "parity", family=family, kind=kind)
        return f"{rows[0]['l2']:.0e} / {rows[0]['gradient']:.0e}" if rows and "l2" in rows[0] else "-"

    lines = [[family, *(cell(family, kind) for kind in KINDS)] for family in families]
    text = (
        "Small generators of every family, four steps from where float64 stood on the CPU: the worst relative error of "
        "L2 / of a gradient. Full and low-resolution steps; CPU is float32 there: what rounding alone does, also to "
        "the side on which a rectifier is. What is not there has no low-resolution picture."
    )
    return table("Parity with float64", ["family", *KINDS], lines, text, level=3)


def _failed(rows: list[Row]) -> str:
    def line(row: Row) -> list[str]:
        where = [str(value) for name, value in row.items() if name not in ("part", "failed")]
        return [row["part"], ", ".join(where), row["failed"].replace("|", "/").replace("\n", " ")]

    lines: list[list[str]] = [line(row) for row in rows if "failed" in row]
    return table("Not measured", ["part", "what", "why"], lines, level=3)

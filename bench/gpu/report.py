"""The section "On a GPU" of bench/RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from bench.speed.table import table

from .notebook import Row
from .parity import KINDS

HEAD = """## On a GPU

Written by `make gpu` on {date}: {machine}. All in one process. Measured peaks: {peaks}.
{dry_run}"""
DRY_RUN = "**A dry run on a CPU: its numbers mean nothing.**\n"

STEPS = """Milliseconds of a step with its gradient, without the encoder. Full: published settings. Low: low-resolution
evaluations of the recommended settings. Search step: the mean of the recommended search, with a full evaluation every
16 steps. Each is the time of a loop with one synchronisation at its end, divided by its steps. "Without": with one
optimization off; off: without `channels_last`, `graphs`, `kernels`, `half` and `layers`. A search disables TF32; the
plain loop and the published code are compared with torch's default, which enables it. MB is the peak of torch's
memory. Floor: the time of convolutions and matrix products at the peaks above, each bound by arithmetic or memory, as
a share of the step; in 16 bits: the share of these products that has 16-bit features."""


def report(metadata: Row, rows: list[Row]) -> str:
    """All tables, from the rows so far."""
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
        search = _number(row, "search_ms") + ("" if row.get("stayed_low", True) else " (gave up low resolution)")
        numbers = [_number(row, "full_ms"), _number(row, "low_ms"), search, *times]
        memory = [_number(row, name, ".0f") for name in ("full_mb", "low_mb")]
        name = f"{row['row']}, TF32" if row["tf32"] else row["row"]
        name += "".join(f" ({each} failed its check)" for each in row.get("not used", ()))
        memory += [_share(row, "full"), _share(row, "low"), _number(row, "low_in_16_bits", ".0%")]
        return [row["case"], str(row["batch"]), name, *numbers, *memory]

    names = ["generator", "B", "what", "full ms", "low ms", "search step ms", "full: faster than plain"]
    names += ["than published", "full MB", "low MB", "full: floor", "low: floor", "low: in 16 bits"]
    return table("Steps on a GPU", names, [line(row) for row in known], STEPS, level=3)


def _searches(rows: list[Row]) -> str:
    found = [row for row in _of(rows, "searches") if "found" in row]
    plain = next((each["full_ms"] for each in _of(rows, "steps", row="plain loop", batch=1, tf32=True)), None)

    def line(row: Row) -> list[str]:
        images = row["found"]
        each = row["seconds"] / len(images)
        l2 = median(image["search_l2"] for image in images)
        name = row.get("target", f"{len(images)} together")
        kind = {"first": " (first, with warm-up)", "batch, first": " (first)"}.get(row["what"], "")
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
        "The recommended search with the default generator and 32x32 targets of `make quality`. L2: before the "
        "residual correction; the median of a batch. Worst pixel: of the 8-bit picture, of 255. The time of the plain "
        "loop is 100 of its steps with TF32, for one image."
    )
    return table("Searches", names, [line(row) for row in found], text, level=3)


def _precision(rows: list[Row]) -> str:
    found = _of(rows, "precision")

    def line(row: Row) -> list[str]:
        numbers = [f"{row['found']} of {row['searches']}", f"{median(row['l2s']):.5f}", f"{max(row['l2s']):.5f}"]
        return [row["row"], *numbers, f"{row['worst']:.2f}", f"{row['distance']:.3f}", f"{median(row['apart']):.3f}"]

    names = ["low-resolution steps in", "found", "median search L2", "largest", "worst pixel", "distance", "RMS"]
    text = (
        "Searches with the default generator and 32x32 targets of `make quality`, from two seeds. RMS: the difference "
        "from the pictures of float32 with the same seed, colours in 0..1. Other rounding: without the fused kernels, "
        "which shows the effect of any change of rounding."
    )
    return table("16-bit features", names, [line(row) for row in found], text, level=3)


def _waits(rows: list[Row]) -> str:
    def line(row: Row) -> list[str]:
        places = ", ".join(f"`{place}` {times}" for place, times in row["places"].items())
        return [row["what"], "on" if row["graphs"] else "off", str(row["waits"]), places or "-"]

    found = _of(rows, "waits")
    summary = next((f"{row['note']}.\n" for row in found if "note" in row), "")
    names = ["what", "graphs", "waits", "where, times"]
    text = "Operations that make the CPU wait for the GPU, after a warm-up; the search has the recommended length."
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
        "Small generators of every family, against float64 on the CPU at four steps: the largest relative error of L2 "
        "/ of a gradient, for full and low-resolution steps. CPU: float32 on the CPU, which shows the effect of "
        "rounding alone, also on the signs of rectifiers. Missing: no low-resolution rendering."
    )
    return table("Parity with float64", ["family", *KINDS], lines, text, level=3)


def _failed(rows: list[Row]) -> str:
    def line(row: Row) -> list[str]:
        where = [str(value) for name, value in row.items() if name not in ("part", "failed")]
        return [row["part"], ", ".join(where), row["failed"].replace("|", "/").replace("\n", " ")]

    lines: list[list[str]] = [line(row) for row in rows if "failed" in row]
    return table("Not measured", ["part", "what", "why"], lines, level=3)

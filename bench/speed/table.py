"""The tables of bench/RESULTS.md."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pulse_core.devices.optimizations import ON_CPU
from pulse_core.pictures.images import NOTICE

from . import sections
from .one import CHANGES

Measured = list[dict[str, Any]]
EPS = (2e-3, 1e-3)

HEAD = """# How fast the search is

{notice}

Written by `make bench` on {date} with torch {torch} on {machine}, {threads} threads{cards}. Medians. All rows of a
table are from the same run, with alternating steps, and each measurement from its own process. "ours" is this pack's
search; steps are compared with the preset published, so that all do the same work. "plain" is
[bench/speed/plain.py](speed/plain.py), the loop of the paper in eager torch; "published" is the published code itself.
The floor is the time of the convolutions and matrix products of a step at the peaks measured in the same process
({peaks}), each bound by arithmetic or memory; the share is floor / step.
"""

PLOT = """## What it costs

Step time against batch size and resolution, and the error against time.

![Seconds an image against the batch, a step against the resolution, the error of four searches](speed.png)
"""


def write_results(found: Measured, path: Path | None) -> None:
    """Prints all tables, and writes them if a path is given."""
    steps = [each for each in chosen(found, "step") if "without" not in each["order"]]
    cards = "".join(f", {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))
    head = HEAD.format(
        notice=NOTICE,
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        torch=torch.__version__,
        machine=f"{platform.machine()} {platform.system()}",
        threads=torch.get_num_threads(),
        cards=cards,
        peaks=_peaks(steps),
    )
    parts = [head, _steps(steps), _solved(found), _optimizations(found), _fits(found), _capped(found), _started(found)]
    if path is not None:
        parts.append(PLOT)
    text = "\n".join(part for part in parts if part)
    print(text)
    if path is not None:
        sections.write(path, main=text)


def chosen(found: Measured, measure: str, **wanted: Any) -> Measured:
    """The successful measurements with these arguments."""
    return [
        each
        for each in found
        if each["order"]["measure"] == measure
        and each["found"] is not None
        and all(each["order"].get(name) == value for name, value in wanted.items())
    ]


def _peaks(steps: Measured) -> str:
    by_device: dict[str, list[dict[str, Any]]] = {}
    for each in steps:
        by_device.setdefault(each["order"]["device"], []).append(each["found"])
    return "; ".join(
        f"{device}: {median(f['flops'] for f in metadata) / 1e9:.0f} GFLOP/s, "
        f"{median(f['stream'] for f in metadata) / 1e9:.0f} GB/s"
        for device, metadata in by_device.items()
    )


def step_time(found: Iterable[dict[str, Any]]) -> float | None:
    """Median seconds over all rounds."""
    times = [second for each in found for second in each["found"]["step"]]
    return median(times) if times else None


def table(title: str, names: list[str], rows: list[list[str]], text: str = "", level: int = 2) -> str:
    """A Markdown table under a heading; "" without rows."""
    if not rows:
        return ""
    lines = [f"{'#' * level} {title}\n", *([text, ""] if text else []), "| " + " | ".join(names) + " |"]
    lines.append("| --- |" + " --: |" * (len(names) - 1))
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _steps(steps: Measured) -> str:
    names = ["generator", "B", "device", "ours s", "plain s", "published s", "faster than plain", "than published"]
    names += ["share of the floor", "ours MB", "plain MB", "published MB"]
    keys = dict.fromkeys((each["order"]["case"], each["order"]["batch"], each["order"]["device"]) for each in steps)
    compared = {key for key in keys if any(_at(steps, key, "plain"))}
    rows = []
    for key in sorted(compared, key=list(keys).index):
        mine, plain, published = (_at(steps, key, row) for row in ("ours", "plain", "published"))
        times = [step_time(each) for each in (mine, plain, published)]
        floor = median(each["found"]["floor"] for each in mine) if mine else None
        share = f"{floor / times[0]:.0%}" if floor and times[0] else "-"
        ratios = [_text(_ratio(other, times[0]), ".1f") for other in times[1:]]
        memory = [_text(_peak(each), ".0f") for each in (mine, plain, published)]
        rows.append([key[0], str(key[1]), key[2], *(_text(time, ".2f") for time in times), *ratios, share, *memory])
    text = "One step of the published algorithm. MB is the peak of the process (on a GPU, of torch's memory)."
    return table("A step", names, rows, text)


def _at(steps: Measured, key: tuple[str, int, str], row: str) -> Measured:
    case, batch, device = key
    return chosen(steps, "step", case=case, batch=batch, device=device, row=row)


def _peak(found: Measured) -> float | None:
    peaks = [each["found"]["peak_mb"] for each in found if each["found"]["peak_mb"] is not None]
    return median(peaks) if peaks else None


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _solved(found: Measured) -> str:
    names = [
        "settings",
        "device",
        "targets",
        "found 2e-3",
        "found 1e-3",
        "search s",
        "first within 1e-3 s",
        "steps",
    ]
    names += ["L2", "distance", "times less than the plain loop"]
    rows = []
    for each in chosen(found, "solve"):
        device, results = each["order"]["device"], each["found"]
        plain = step_time(_at(found, ("ffhq-mobile", 1, device), "plain"))
        rows += [_solution(each["order"]["row"], device, results, plain)]
        if each["order"]["row"] == "published" and plain is not None:
            slow = [result | {"seconds": result["steps"] * plain, "way": []} for result in results]
            rows.insert(0, _solution("plain loop, published settings", device, slow, plain))
    text = (
        "The default generator and 32x32 targets of `make quality`: two photographs, and two generated faces if there "
        "are four targets. Found: a full evaluation is within eps. The time of the plain loop is its number of steps "
        "times the time of its step above; its results are those of the preset published, as both agree step by step. "
        "The last column compares with 100 steps of the plain loop on the same targets."
    )
    return table("Time to a face", names, rows, text)


def _solution(row: str, device: str, results: Measured, plain: float | None) -> list[str]:
    def share(eps: float) -> str:
        return f"{sum(result['l2'] <= eps for result in results)} of {len(results)}"

    seconds = _mean(results, "seconds")
    first = [next((time for time, l2 in result["way"] if l2 <= EPS[1]), None) for result in results]
    reached = [time for time in first if time is not None]
    published = [100 * plain / result["seconds"] for result in results] if plain else []
    return [
        row,
        device,
        str(len(results)),
        *map(share, EPS),
        f"{seconds:.1f}",
        f"{sum(reached) / len(reached):.1f} ({len(reached)})" if reached else "-",
        f"{_mean(results, 'steps'):.0f}",
        f"{_mean(results, 'l2'):.5f}",
        f"{_mean(results, 'distance'):.2f}",
        f"{100 * plain / seconds:.1f} ({min(published):.1f} to {max(published):.1f})" if plain else "-",
    ]


def _mean(results: Measured, name: str) -> float:
    return float(sum(result[name] for result in results) / len(results))


def _optimizations(found: Measured) -> str:
    orders = [each["order"] for each in chosen(found, "step")]
    cases = dict.fromkeys(order["case"] for order in orders if "without" in order)
    rows = [row for name in (None, *ON_CPU) for case in cases for row in _left_out(found, name, case)]
    names = ["without", "generator", "s", "MB", "times slower", "times the memory"]
    names += ["faster than published (plain)", "share of its memory"]
    text = (
        "A step without one of the optimizations (`PULSE_WITHOUT`, see pulse_core/devices/optimizations.py), against a "
        "step with all of them, and against the published code, or the plain loop if that was not measured. `memory` "
        "is always off in ComfyUI, as it changes the process. Optimizations that are settings "
        f"({', '.join(list(CHANGES)[1:])}) are in the table above."
    )
    return table("The effect of each optimization", names, rows, text)


def _left_out(found: Measured, optimization: str | None, case: str) -> Iterator[list[str]]:
    """The rows of a step without an optimization; None means with all of them."""
    key = (case, 1, "cpu")
    all_on, without = (
        [each for each in _at(found, key, "ours") if each["order"].get("without") == left]
        for left in (None, optimization)
    )
    slow = _at(found, key, "published") or _at(found, key, "plain")
    times, peaks = ([measure(each) for each in (without, all_on, slow)] for measure in (step_time, _peak))
    if times[0] is None:
        return
    ratios = (_ratio(times[0], times[1]), _ratio(peaks[0], peaks[1]), _ratio(times[2], times[0]))
    name = "nothing" if optimization is None else f"`{optimization}`"
    numbers = (_text(each, ".2f") for each in (*ratios, _ratio(peaks[0], peaks[2])))
    yield [name, case, _text(times[0], ".2f"), _text(peaks[0], ".0f"), *numbers]


def _fits(found: Measured) -> str:
    def line(each: dict[str, Any]) -> list[str]:
        order, metadata = each["order"], each["found"]
        name = {"ours": "ours, with the covariance", "plain": "as published, one batch"}[order["row"]]
        share = metadata["fit"] / metadata["floor"]
        return [name, order["device"], f"{metadata['fit']:.1f}", f"{share:.2f}", _text(metadata["beyond_mb"], ".0f")]

    names = ["fit of 1,000,000", "device", "s", "times its arithmetic floor", "MB beyond the weights"]
    return table("The Gaussian fit", names, [line(each) for each in chosen(found, "fit")])


def _capped(found: Measured) -> str:
    def line(each: dict[str, Any]) -> list[str]:
        metadata, order = each["found"], each["order"]
        return [
            order["case"],
            f"{order['gigabytes']:g}",
            "yes" if metadata["recomputed"] else "no",
            f"{metadata['peak_mb']:.0f}",
        ]

    names = ["one image", "GB allowed", "layers recomputed", "peak MB"]
    text = "A search of one step under a limit of the process's memory (RLIMIT_DATA), on a CPU in place of a GPU."
    return table("Little memory", names, [line(each) for each in chosen(found, "capped")], text)


def _started(found: Measured) -> str:
    rows = [[f"{each['found']['import']:.2f}", f"{each['found']['load']:.2f}"] for each in chosen(found, "start")]
    return table("Start", ["import s (torch's own included)", "load the default generator and its fit s"], rows)

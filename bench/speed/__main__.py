"""`make bench`: times the search against a plain loop and the published code, and writes bench/RESULTS.md.

With --gpu, `make gpu`: all measurements of one device, in one process. With --roofline: calculated lower bounds for
GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pulse_core.devices.optimizations import ON_CPU
from pulse_core.files import whole_file

from . import sections
from .one import CHANGES
from .plot import draw
from .shapes import CASES, LARGEST
from .table import write_results

HERE = Path(__file__).resolve().parent.parent
STEPS, ROUNDS = 4, 2  # each round runs all measurements, so that a slow minute affects all equally
GIGABYTES = 4.0
FIT = 1_000_000

Order = dict[str, Any]


def devices() -> list[str]:
    """All devices of this machine."""
    return ["cpu", *["cuda"] * torch.cuda.is_available(), *["mps"] * torch.backends.mps.is_available()]


def orders(*, quick: bool, reference: str) -> list[Order]:
    """The measurements, with the rounds of steps first."""
    listed: list[Order] = []
    for turn in range(1 if quick else ROUNDS):
        for device in devices():
            for case in (CASES[0], CASES[-1]) if quick else CASES:
                rows = ["ours", "plain", *["published"] * bool(reference and case.startswith("stylegan1"))]
                for batch, steps in ((1, 2 if quick else STEPS), (4, 2))[: 1 if quick or turn else 2]:
                    common = {"measure": "step", "case": case, "batch": batch, "device": device, "steps": steps}
                    listed += [common | {"row": row, "reference": reference} for row in rows]
    listed.append({"measure": "start"})
    if quick:
        return [*listed, {"measure": "solve", "row": "recommended", "device": devices()[-1], "targets": 1}]
    for device in devices():
        listed += [{"measure": "fit", "row": row, "samples": FIT, "device": device} for row in ("ours", "plain")]
        for row in ("published", *CHANGES):
            targets = 4 if row in ("published", "recommended") else 2
            listed.append({"measure": "solve", "row": row, "device": device, "targets": targets})
    step = {"measure": "step", "row": "ours", "batch": 1, "device": "cpu", "steps": STEPS, "reference": ""}
    listed += [step | {"case": case, "without": name} for case in (CASES[0], CASES[-1]) for name in ON_CPU]
    listed += [step | {"case": f"stylegan2-{size}"} for size in (128, 256, 512)]
    listed += [step | {"case": CASES[-1], "batch": batch} for batch in (2, 8)]
    if sys.platform.startswith("linux"):
        listed += [{"measure": "capped", "case": case, "gigabytes": GIGABYTES} for case in (*CASES, LARGEST)]
    return listed


def result_of(order: Order) -> Any:
    """The result of a measurement in a process of its own; None if it fails, with a message."""
    asked = {name: value for name, value in order.items() if name != "without"}
    environment = {**os.environ, "PULSE_WITHOUT": order.get("without", "")}
    command = [sys.executable, "-m", "bench.speed.one", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        tqdm.write(f"{order}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures and prints the tables, and unless quick writes them with a plot."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under two minutes: no files but the JSON")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all measurements")
    parser.add_argument(
        "--reference", default="", metavar="DIR", help="a checkout of the published code, to time as well"
    )
    parser.add_argument("--gpu", action="store_true", help="all measurements on a GPU; some minutes")
    parser.add_argument("--device", choices=("cuda", "mps", "cpu"), help="for --gpu; cpu only tests that it runs")
    parser.add_argument("--minutes", type=float, default=20.0, help="for --gpu: no measurement starts after these")
    parser.add_argument("--roofline", action="store_true", help="calculated lower bounds for GPUs; a minute")
    args = parser.parse_args()
    if args.roofline:
        _calculate()
        return
    if args.gpu:
        from bench.gpu import session

        checkout = Path(args.reference).resolve() if args.reference else None
        session.main(args.device, quick=args.quick, json=args.json, reference=checkout, minutes=args.minutes)
        return
    reference = str(Path(args.reference).resolve()) if args.reference else ""
    found = [
        {"order": order, "found": result_of(order)} for order in tqdm(orders(quick=args.quick, reference=reference))
    ]
    for each in found:
        each["order"].pop("reference", None)  # a local path
    if args.json is not None:
        with whole_file(args.json) as file:
            file.write_text(json.dumps(found, indent=1) + "\n")
    if not args.quick:
        draw(found, HERE / "speed.png")
    write_results(found, None if args.quick else HERE / "RESULTS.md")
    if not args.quick:
        _calculate()


def _calculate() -> None:
    """Prints and writes the section that needs no GPU."""
    from bench.gpu import roofline

    text = roofline.report(roofline.measure())
    print(text)
    sections.write(HERE / "RESULTS.md", sections={sections.CALCULATED: text})


if __name__ == "__main__":
    main()

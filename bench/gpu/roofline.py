"""Lower bounds for the time of a step on other GPUs, calculated from the layers: `python -m bench.speed --roofline`.

Each step is run once on the CPU, and its operations are counted with the bytes that they read and write (CountWork).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from bench.speed.floor import CountWork, Op
from bench.speed.table import table
from pulse_core.generators import frozen

from .loops import Counts, Ours, counted
from .plan import TARGET, Case, true_cases

EAGER, GRAPH = 5e-6, 1.5e-6  # seconds per launch: on the CPU, and at least on the GPU


class Gpu(NamedTuple):
    """Published peaks per second: float32 operations, dense float16 operations with float32 sums, bytes of memory."""

    name: str
    flops: float
    half_flops: float
    stream: float


GPUS = (
    Gpu("RTX 3060", 12.7e12, 25.5e12, 360e9),
    Gpu("RTX 4090", 82.6e12, 165e12, 1008e9),
    Gpu("H100", 67e12, 989e12, 3350e9),
)

TEXT = """**Calculated, not measured**: the work of a step at B = 1, counted on a CPU, and lower bounds of its time for
three GPUs at their published peaks. Launches are operations other than views; GB is what they read and write;
"products" are convolutions and matrix products. The four numbers of a GPU are milliseconds. *eager*: {eager:g} us of
CPU time for each launch, or *graph* if longer. *graph*: all operations at the peaks, at least {graph:g} us each.
*fused*: the products alone, as if everything else were fused into them. *16 bit*: the products in 16 bits on the
tensor cores. float32 is without TF32. Low-resolution steps are of the first and the second half of a search. Peaks,
float32 and float16 in TFLOP/s and memory in GB/s: {gpus}."""


def measure(cases: Sequence[Case] | None = None, target: int = TARGET) -> dict[str, Counts]:
    """The work of each generator's steps, by its name."""
    found, cpu = {}, torch.device("cpu")
    for case in true_cases(quick=False) if cases is None else cases:
        with _in_one_piece():
            found[case.name] = counted(Ours(case.build(cpu), 1, target, cpu))
    return found


@contextmanager
def _in_one_piece() -> Iterator[None]:
    """Context manager: turns off the slabs by which sums over pixels fit a CPU's cache; a GPU has none."""
    before, frozen._SLAB = frozen._SLAB, 2**62
    try:
        yield
    finally:
        frozen._SLAB = before


class Best(NamedTuple):
    """Lower bounds for the seconds of a step."""

    eager: float
    graph: float
    fused: float
    half: float


def best(work: CountWork, gpu: Gpu) -> Best:
    """The lower bounds on a GPU."""

    def taken(op: Op, flops: float = gpu.flops, width: float = 1.0) -> float:
        return max(op.flops / flops, width * op.moved / gpu.stream)

    graph = sum(max(GRAPH, taken(op)) for op in work.ops)
    return Best(
        eager=max(EAGER * len(work.ops), graph),
        graph=graph,
        fused=sum(max(GRAPH, taken(op)) for op in work.products),
        half=sum(max(GRAPH, taken(op, gpu.half_flops, 2 / op.width)) for op in work.products),
    )


def report(found: dict[str, Counts]) -> str:
    """The section of bench/RESULTS.md."""
    peaks = (f"{c.name} {c.flops / 1e12:g}, {c.half_flops / 1e12:g}, {c.stream / 1e9:g}" for c in GPUS)
    text = TEXT.format(eager=1e6 * EAGER, graph=1e6 * GRAPH, gpus="; ".join(peaks))
    names = ["generator", "step", "launches", "products", "GFLOP", "GB", "GB of products"]
    names += [f"{gpu.name}: eager / graph / fused / 16 bit" for gpu in GPUS]
    rows = [_row(name, kind, work) for name, counts in found.items() for kind, work in counts.items()]
    return table("Lower bounds for GPUs", names, rows, text)


def _row(name: str, kind: str, work: CountWork) -> list[str]:
    step = {"full": "full", "low": "low, first half", "low twice": "low, second half"}[kind]
    numbers = [str(len(work.ops)), str(len(work.products)), f"{work.flops / 1e9:.1f}", f"{work.moved / 1e9:.2f}"]
    numbers.append(f"{sum(op.moved for op in work.products) / 1e9:.2f}")
    times = (" / ".join(f"{1e3 * each:.2f}" for each in best(work, gpu)) for gpu in GPUS)
    return [name, step, *numbers, *times]

"""Milliseconds and megabytes of steps, with everything on and with each optimization left out; and the peaks."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import Any

import torch

from bench.memory import forget_peak, peak_mb
from bench.speed.floor import copy_peak, product_peak
from pulse_core.devices.optimizations import disabled

from .loops import Ours, Step, counted, low_milliseconds, milliseconds, plain, published, search_milliseconds
from .notebook import Notebook, Row
from .plan import LAYOUTS, Case, Plan, tf32

_LIMIT = 1000  # steps that are prepared


def measure(plan: Plan, notes: Notebook) -> None:
    """The peaks, then for each generator and batch: ours, each optimization left out, the plain and the published."""
    found = notes.measure("peaks", {}, lambda: _peaks(plan))
    for case in plan.cases:
        for batch in plan.batches:
            for row, left_out in LAYOUTS.items():
                for on in (False, True) if not left_out else (False,):  # a search never allows it
                    work = partial(_ours, case, batch, plan, left_out, on, found)
                    notes.measure("steps", {"case": case.name, "batch": batch, "row": row, "tf32": on}, work)
            for row, build in _others(case, plan).items():
                for on in (True, False):
                    work = partial(_other, build, case, batch, plan, on)
                    notes.measure("steps", {"case": case.name, "batch": batch, "row": row, "tf32": on}, work)


def _others(case: Case, plan: Plan) -> dict[str, Callable[[Case, int, Plan], Step]]:
    """The loops to compare with."""
    others: dict[str, Callable[[Case, int, Plan], Step]] = {"plain loop": plain}
    if plan.reference is not None and case.name == "stylegan1-1024":
        others["published code"] = published
    return others


def _peaks(plan: Plan) -> Row:
    """Operations and bytes a second that the device shows."""
    device, side = plan.device, plan.matrix
    found: Row = {"float32": product_peak(device, side=side)}
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        found["tf32"] = product_peak(device, side=side)
    finally:
        torch.set_float32_matmul_precision(before)
    found["float16"] = product_peak(device, torch.float16, side=side)
    return found | {"copy": copy_peak(device, plan.copied)}


def _ours(case: Case, batch: int, plan: Plan, left_out: tuple[str, ...], on: bool, peaks: Row) -> Row:
    """With TF32 or without."""
    with tf32(on), disabled(*left_out):
        forget_peak(plan.device)
        ours = Ours(case.build(plan.device), batch, plan.target, plan.device)
        metadata: Row = {"full_ms": milliseconds(ours.full(_LIMIT), plan), "full_mb": peak_mb(plan.device)}
        _make_room(plan)
        forget_peak(plan.device)
        sizes = low_milliseconds(ours, plan)
        metadata |= {"low_ms": fmean(sizes), "low_sizes_ms": sizes, "low_mb": peak_mb(plan.device)}
        _make_room(plan)
        mean, stayed = search_milliseconds(ours, plan)
        metadata |= {"search_ms": mean, "stayed_low": stayed, "held_mb": _held_mb(plan)}
        if not left_out:  # their floor
            _make_room(plan)
            metadata |= _floors(ours, on, peaks)
    return metadata


def _floors(ours: Ours, on: bool, peaks: Row) -> Row:
    """What the convolutions and matrix products would take at the peaks, and what they are."""
    counts = counted(ours)
    metadata: Row = {f"{name} gflop": count.flops / 1e9 for name, count in counts.items()}
    metadata |= {f"{name} gb": sum(op.moved for op in count.products) / 1e9 for name, count in counts.items()}
    low = [op for name in ("low", "low twice") for op in counts[name].products]
    metadata["low_in_16_bits"] = fmean(op.width == 2 for op in low)
    if "failed" in peaks:
        return metadata
    known = (peaks["tf32" if on else "float32"], peaks["copy"], peaks["float16"])
    floors = {name: 1e3 * count.floor(*known) for name, count in counts.items()}
    return metadata | {"full_floor_ms": floors["full"], "low_floor_ms": fmean((floors["low"], floors["low twice"]))}


def _other(build: Callable[[Case, int, Plan], Step], case: Case, batch: int, plan: Plan, on: bool) -> Row:
    with tf32(on):
        step = build(case, batch, plan)
        forget_peak(plan.device)
        return {"full_ms": milliseconds(step, plan, warm_up=min(plan.warm_up, 2)), "full_mb": peak_mb(plan.device)}


def _make_room(plan: Plan) -> None:
    """What the loop before captured is gone, and its memory, too."""
    gc.collect()
    if plan.is_cuda:
        torch.cuda.empty_cache()


def _held_mb(plan: Plan) -> Any:
    """What torch has taken of the card, which others cannot use."""
    return torch.cuda.max_memory_reserved(plan.device) / 2**20 if plan.is_cuda else None

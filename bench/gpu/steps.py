"""Time and memory of steps with all optimizations and without each of them, and the peaks of the device."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import Any

import torch

from bench.memory import peak_mb, reset_peak
from bench.speed.floor import copy_peak, product_peak
from pulse_core.devices.optimizations import disabled

from .loops import Ours, Step, counted, low_milliseconds, milliseconds, plain, published, search_milliseconds
from .notebook import Notebook, Row
from .plan import LAYOUTS, Case, Plan, tf32

_LIMIT = 1000  # steps of the search's schedule


def measure(plan: Plan, notes: Notebook) -> None:
    """The peaks; then, for each generator and batch size, ours with and without optimizations, and the other loops."""
    found = notes.measure("peaks", {}, lambda: _peaks(plan))
    for case in plan.cases:
        for batch in plan.batches:
            for row, disabled_names in LAYOUTS.items():
                for on in (False, True) if not disabled_names else (False,):  # a search never uses TF32
                    work = partial(_ours, case, batch, plan, disabled_names, on, found)
                    notes.measure("steps", {"case": case.name, "batch": batch, "row": row, "tf32": on}, work)
            for row, build in _others(case, plan).items():
                for on in (True, False):
                    work = partial(_other, build, case, batch, plan, on)
                    notes.measure("steps", {"case": case.name, "batch": batch, "row": row, "tf32": on}, work)


def _others(case: Case, plan: Plan) -> dict[str, Callable[[Case, int, Plan], Step]]:
    """The loops for comparison."""
    others: dict[str, Callable[[Case, int, Plan], Step]] = {"plain loop": plain}
    if plan.reference is not None and case.name == "stylegan1-1024":
        others["published code"] = published
    return others


def _peaks(plan: Plan) -> Row:
    """Measured peak operations and bytes per second."""
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


def _ours(case: Case, batch: int, plan: Plan, disabled_names: tuple[str, ...], on: bool, peaks: Row) -> Row:
    """A row of our search."""
    with tf32(on), disabled(*disabled_names):
        reset_peak(plan.device)
        ours = Ours(case.build(plan.device), batch, plan.target, plan.device)
        metadata: Row = {"full_ms": milliseconds(ours.full(_LIMIT), plan), "full_mb": peak_mb(plan.device)}
        _make_room(plan)
        reset_peak(plan.device)
        sizes = low_milliseconds(ours, plan)
        metadata |= {"low_ms": fmean(sizes), "low_sizes_ms": sizes, "low_mb": peak_mb(plan.device)}
        _make_room(plan)
        mean, stayed = search_milliseconds(ours, plan)
        metadata |= {"search_ms": mean, "stayed_low": stayed, "held_mb": _held_mb(plan)}
        if not disabled_names:  # their floor
            _make_room(plan)
            metadata |= _floors(ours, on, peaks)
    return metadata


def _floors(ours: Ours, on: bool, peaks: Row) -> Row:
    """The work of convolutions and matrix products, and its time at the peaks."""
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
        reset_peak(plan.device)
        return {"full_ms": milliseconds(step, plan, warm_up=min(plan.warm_up, 2)), "full_mb": peak_mb(plan.device)}


def _make_room(plan: Plan) -> None:
    """Frees what the previous loop captured."""
    gc.collect()
    if plan.is_cuda:
        torch.cuda.empty_cache()


def _held_mb(plan: Plan) -> Any:
    """The memory that torch has reserved, in MB."""
    return torch.cuda.max_memory_reserved(plan.device) / 2**20 if plan.is_cuda else None

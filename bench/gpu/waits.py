"""Where the CPU waits for the GPU: synchronising operations, by file and line (torch.cuda.set_sync_debug_mode)."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from pulse_core.devices.optimizations import disabled
from pulse_core.latent_search.config import RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.latents.fits import gaussian_for
from pulse_core.loading import catalogue

from .loops import Ours
from .notebook import Notebook, Row
from .plan import Plan, standard

ROOT = Path(__file__).resolve().parents[2]
_MESSAGE = "called a synchronizing"
NOT_HERE = "not measurable: torch reports synchronisations on CUDA only"


def measure(plan: Plan, notes: Notebook) -> None:
    """A row for each kind of step, and one for a search; with graphs and without."""
    for graphs in (True, False):
        for what, work in (("full step", _full), ("low-resolution step", _low), ("whole search", _search)):
            notes.measure("waits", {"what": what, "graphs": graphs}, partial(_count, work, plan, graphs))


def _count(work: Callable[[Plan], Row], plan: Plan, graphs: bool) -> Row:
    with disabled(*() if graphs else ("graphs",)):
        found = work(plan)
    return found if plan.is_cuda else {"note": NOT_HERE}


def _ours(plan: Plan) -> Ours:
    return Ours(plan.cases[0].build(plan.device), 1, plan.target, plan.device)


def _full(plan: Plan) -> Row:
    step = _ours(plan).full(plan.warm_up + 1)
    for _ in range(plan.warm_up):
        step()
    return waits_of(step)


def _low(plan: Plan) -> Row:
    _, step = _ours(plan).low_resolution(plan.warm_up + 1)
    for _ in range(plan.warm_up):
        step()
    return waits_of(step)


def _search(plan: Plan) -> Row:
    """A search with the recommended number of steps, after a warm-up."""
    ours = _ours(plan)
    gaussian = standard(ours.generator, plan.device)
    if plan.cases[0].name == catalogue.DEFAULT_GENERATOR:  # with its encoder
        gaussian = gaussian_for(ours.generator)
    config = replace(RECOMMENDED, steps=plan.search_steps or RECOMMENDED.steps)
    search(ours.generator, ours.target, gaussian, config)
    return waits_of(lambda: search(ours.generator, ours.target, gaussian, config))


def waits_of(work: Callable[[], Any]) -> Row:
    """The number of synchronisations, and where they happen."""
    with recorded_waits() as places, _debugged():
        work()
    return {"waits": places.total(), "places": dict(places.most_common())}


@contextmanager
def _debugged() -> Iterator[None]:
    if not torch.cuda.is_available():
        yield
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def recorded_waits() -> Iterator[Counter[str]]:
    """Context manager: counts warnings about synchronisation by the innermost line of this project on the stack."""
    places: Counter[str] = Counter()

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        if _MESSAGE in str(message):
            places[_place(sys._getframe(1))] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        yield places


def _place(frame: FrameType | None) -> str:
    """The innermost frame in a file of this project."""
    here = Path(__file__).resolve()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and ".venv" not in path.parts and path != here:
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"

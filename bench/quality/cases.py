"""The searches of the table, the most informative first, so that an interrupted run has those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .measure import Case
from .rows import BICUBIC, MAIN, ROWS, SPREAD
from .targets import GENERATED, HELD_OUT_PORTRAIT, INPUT_DEGRADATIONS, PORTRAIT, Target

SIZES = (32, 64, 16)
QUICK = ("p02", "p05", "p13")  # a plain background, a flag, and a held-out portrait
FEW = (*QUICK, "p08", "p11", "p16")  # also degraded, and searched with a second seed


def cases(targets: Sequence[Target], *, quick: bool) -> Iterator[Case]:
    """All cases without duplicates. quick: only the main rows of a few portraits at 32 pixels."""
    main = (BICUBIC, *MAIN)
    portraits = [target.name for target in targets if target.kind in (PORTRAIT, HELD_OUT_PORTRAIT)]
    rest = [target.name for target in targets if target.name not in portraits]
    few = [name for name in portraits if name in FEW]
    faces = [target.name for target in targets if target.kind == GENERATED][:2]
    first = [name for name in portraits if name in QUICK]
    yield from _clean(first, 32, main)
    if quick:
        return
    yield from _clean([name for name in portraits if name not in first], 32, main)
    yield from (case for lr in SIZES[1:] for case in _clean(portraits, lr, main))
    yield from _clean(rest, 32, main)
    yield from (
        Case(name, 32, spoiling, row, 0) for spoiling in INPUT_DEGRADATIONS for name in (*few, *faces) for row in main
    )
    yield from (Case(name, 32, "clean", row, 1) for name in (*few, *faces) for row in SPREAD)
    yield from (case for lr in (*SIZES[1:], 128) for case in _clean(faces, lr, main))
    others = [row for row in ROWS if row not in main]
    yield from _clean((*portraits, *faces), 32, others)


def _clean(names: Sequence[str], lr: int, rows: Sequence[str]) -> Iterator[Case]:
    return (Case(name, lr, "clean", row, 0) for name in names for row in rows)

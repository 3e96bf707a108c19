"""Which searches the table is made of, the most telling first, so that a stopped run has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .measure import Case
from .rows import BICUBIC, MAIN, ROWS, SPREAD
from .targets import GENERATED, KEPT_APART, PORTRAIT, SPOILED, Target

SIZES = (32, 64, 16)
QUICK = ("p02", "p05", "p13")  # calm, before a flag, and one that is kept apart
FEW = (*QUICK, "p08", "p11", "p16")  # degraded, and searched from a second seed


def cases(targets: Sequence[Target], *, quick: bool) -> Iterator[Case]:
    """All of them, none twice; quick: the main rows of a few portraits at 32 pixels."""
    main = (BICUBIC, *MAIN)
    portraits = [target.name for target in targets if target.kind in (PORTRAIT, KEPT_APART)]
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
    yield from (Case(name, 32, spoiling, row, 0) for spoiling in SPOILED for name in (*few, *faces) for row in main)
    yield from (Case(name, 32, "clean", row, 1) for name in (*few, *faces) for row in SPREAD)
    yield from (case for lr in (*SIZES[1:], 128) for case in _clean(faces, lr, main))
    others = [row for row in ROWS if row not in main]
    yield from _clean((*few, *faces), 32, others)


def _clean(names: Sequence[str], lr: int, rows: Sequence[str]) -> Iterator[Case]:
    return (Case(name, lr, "clean", row, 0) for name in names for row in rows)

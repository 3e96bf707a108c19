"""Pairwise cases: every pair of two parameters' values occurs in one of them, in a fraction of the whole grid.

Most faults show with one value or with two together (Kuhn, Wallace, Gallo 2004, doi 10.1109/TSE.2004.24).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, product
from typing import Any

Case = tuple[Any, ...]


def pairs_of(case: Case) -> Iterator[tuple[tuple[int, Any], tuple[int, Any]]]:
    """The pairs of (place, value) in a case."""
    return combinations(enumerate(case), 2)


def pairwise(parameters: Mapping[str, Iterable[Any]]) -> list[Case]:
    """Few cases that have every pair of values; in the order of the parameters, the same every time.

    Greedy: of the whole grid always the case next that has the most pairs which no case before it had.
    """
    grid = list(product(*parameters.values()))
    missing = {pair for case in grid for pair in pairs_of(case)}
    cases: list[Case] = []
    while missing:
        best = max(grid, key=lambda case: sum(pair in missing for pair in pairs_of(case)))
        missing.difference_update(pairs_of(best))
        cases.append(best)
    return cases

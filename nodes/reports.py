"""The report of PULSE Search, as the nodes after it read it."""

from __future__ import annotations

import json
from typing import Any

from ..pulse_core.errors import SettingError
from ..pulse_core.limits import check_length

_ROW = 1 << 16  # characters of a report for each image, and for what all images have in common
_WHOLE = 2**64  # the numbers of images and seeds are smaller


class _RowError(ValueError):
    """A row of a report that no search writes."""


def records(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The metadata of each image's PNG or latent file: its own row, and what all images have in common."""
    # files have a place of their own for the notice
    common = {name: value for name, value in report.items() if name not in ("images", "notice")}
    return [{**row, **common} for row in report["images"]]


def metadata_of_each(report: str, count: int) -> list[dict[str, Any]]:
    """`records` of the text of a report, for `count` images; empty ones without a report."""
    known = _read(report, count)
    if known is None:
        return [{}] * count
    common = sum(len(json.dumps(value)) for name, value in known.items() if name != "images")
    if common > _ROW:  # it goes into each picture
        raise SettingError(
            f"The report has {common:,} characters beside its rows.",
            f"up to {_ROW:,}.",
            "connect that of PULSE Search.",
        )
    return records(known)


def captions(report: str, count: int) -> list[str]:
    """Two lines for each image: rank and residual in the face, seed and convergence; its number without a report."""
    known = _read(report, count)
    if known is None:
        return [str(number) for number in range(1, count + 1)]
    ranks: dict[Any, int] = {}
    lines = []
    for row in known["images"]:
        rank = ranks[row.get("image")] = ranks.get(row.get("image"), 0) + 1
        state = "found" if row.get("converged") else "not within eps"
        lines.append(f"#{rank}  residual {row.get('residual_face', 0):.3f}\nseed {row.get('seed')}, {state}")
    return lines


def groups(report: str, count: int, *, found_only: bool) -> list[list[int]]:
    """The places of the solutions of each input; without a report all are of one input."""
    known = _read(report, count)
    if known is None:
        return [list(range(count))]
    places: dict[Any, list[int]] = {}
    for place, row in enumerate(known["images"]):
        group = places.setdefault(row.get("image"), [])
        if row.get("converged") or not found_only:
            group.append(place)
    return list(places.values())


def _read(report: str, count: int) -> dict[str, Any] | None:
    """The report as data; None if the text is empty.

    Raises:
        SettingError: not a report of PULSE Search, or one of another number of images.
    """
    check_length(report, _ROW * (count + 1), "The report", "connect the report of PULSE Search.")
    if not report.strip():
        return None
    try:
        known = dict(json.loads(report))
        known["images"] = [_checked(dict(row)) for row in known["images"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, _RowError) else ""
        raise SettingError(
            f"The report begins with {report[:40]!r}{reason}.", "the report of PULSE Search.", "connect that output."
        ) from error
    if len(known["images"]) != count:
        raise SettingError(
            f"The report is of {len(known['images'])} images, and {count} are connected.",
            "the images and the report of the same search.",
            "connect both outputs of one PULSE Search.",
        )
    return known


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """The row, if what this file reads of it has its type."""
    for name in ("image", "seed"):
        value = row.get(name)
        if not (value is None or (type(value) is int and 0 <= value < _WHOLE)):
            raise _RowError(f"{name} of a row is no whole number")
    if not isinstance(row.get("converged", False), bool):
        raise _RowError("converged of a row is neither true nor false")
    residual = row.get("residual_face", 0)
    if type(residual) not in (int, float) or not abs(residual) <= _WHOLE:
        raise _RowError("residual_face of a row is no number")
    return row

"""The report of PULSE Search, as the nodes after it read it."""

from __future__ import annotations

import json
from typing import Any

from ..pulse_core.errors import SettingError


def records(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The metadata of each image's PNG or latent file: its own row, and what all images have in common."""
    # files have a place of their own for the notice
    common = {name: value for name, value in report.items() if name not in ("images", "notice")}
    return [{**row, **common} for row in report["images"]]


def metadata_of_each(report: str, count: int) -> list[dict[str, Any]]:
    """`records` of the text of a report, for `count` images; empty ones without a report."""
    known = _read(report, count)
    return records(known) if known is not None else [{}] * count


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
    if not report.strip():
        return None
    try:
        known = dict(json.loads(report))
        known["images"] = [dict(row) for row in known["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"The report begins with {report[:40]!r}.", "the report of PULSE Search.", "connect that output."
        ) from error
    if len(known["images"]) != count:
        raise SettingError(
            f"The report is of {len(known['images'])} images, and {count} are connected.",
            "the images and the report of the same search.",
            "connect both outputs of one PULSE Search.",
        )
    return known

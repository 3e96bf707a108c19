"""The report of PULSE Search, read by the nodes that come after it."""

from __future__ import annotations

import json
from typing import Any

from ..pulse_core.errors import SettingError


def rows(report: str, count: int) -> list[dict[str, Any]]:
    """What the report says of each of `count` images; empty where there is none.

    Raises:
        SettingError: no report of PULSE Search, or one of another number of images.
    """
    if not report.strip():
        return []
    try:
        images = json.loads(report)["images"]
        found = [dict(row) for row in images]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"The report begins with {report[:40]!r}.", "the report of PULSE Search.", "connect that output."
        ) from error
    if len(found) != count:
        raise SettingError(
            f"The report is of {len(found)} images, and {count} are connected.",
            "the images and the report of the same search.",
            "connect both outputs of one PULSE Search.",
        )
    return found


def captions(report: str, count: int) -> list[str]:
    """Two lines for each image: its place and L2, its seed; or its number alone."""
    known = rows(report, count)
    if not known:
        return [str(number) for number in range(1, count + 1)]
    place: dict[Any, int] = {}
    lines = []
    for row in known:
        place[row.get("image")] = place.get(row.get("image"), 0) + 1
        state = "found" if row.get("converged") else "not within eps"
        lines.append(f"#{place[row.get('image')]}  L2 {row.get('l2', 0):.5f}\nseed {row.get('seed')}, {state}")
    return lines


def groups(report: str, count: int, *, found_only: bool) -> list[list[int]]:
    """The places of the images that are of one input, in turn; all where there is no report."""
    known = rows(report, count)
    if not known:
        return [list(range(count))]
    wanted: dict[Any, list[int]] = {}
    for place, row in enumerate(known):
        together = wanted.setdefault(row.get("image"), [])
        if row.get("converged") or not found_only:
            together.append(place)
    return list(wanted.values())


def facts_of_each(report: str, count: int) -> list[dict[str, Any]]:
    """What is written into each picture: its own row, and what all have in common."""
    known = rows(report, count)
    if not known:
        return [{}] * count
    common = {name: value for name, value in json.loads(report).items() if name not in ("images", "notice")}
    return [{**row, **common} for row in known]

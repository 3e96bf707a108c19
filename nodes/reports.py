"""The report of PULSE Search, read by the nodes that come after it."""

from __future__ import annotations

import json
from typing import Any

from ..pulse_core.errors import SettingError


def _read(report: str, count: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the report says of each of `count` images, and what of all of them; nothing where there is none.

    Raises:
        SettingError: no report of PULSE Search, or one of another number of images.
    """
    if not report.strip():
        return [], {}
    try:
        common = dict(json.loads(report))
        found = [dict(row) for row in common.pop("images")]
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
    return found, common


def captions(report: str, count: int) -> list[str]:
    """Two lines for each image: its rank and its residual in the face, its seed; or its number alone."""
    known, _ = _read(report, count)
    if not known:
        return [str(number) for number in range(1, count + 1)]
    place: dict[Any, int] = {}
    lines = []
    for row in known:
        place[row.get("image")] = place.get(row.get("image"), 0) + 1
        state = "found" if row.get("converged") else "not within eps"
        left = f"residual {row.get('residual_face', 0):.3f}"
        lines.append(f"#{place[row.get('image')]}  {left}\nseed {row.get('seed')}, {state}")
    return lines


def groups(report: str, count: int, *, found_only: bool) -> list[list[int]]:
    """The places of the images that are of one input, in turn; all where there is no report."""
    known, _ = _read(report, count)
    if not known:
        return [list(range(count))]
    wanted: dict[Any, list[int]] = {}
    for place, row in enumerate(known):
        together = wanted.setdefault(row.get("image"), [])
        if row.get("converged") or not found_only:
            together.append(place)
    return list(wanted.values())


def metadata_of_each(report: str, count: int) -> list[dict[str, Any]]:
    """What is written into each picture and latent: its own row, and what all have in common."""
    known, common = _read(report, count)
    if not known:
        return [{}] * count
    common.pop("notice", None)  # files say it in a place of its own
    return [{**row, **common} for row in known]

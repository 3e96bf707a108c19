"""The way of `upscale` and `photo` through their inputs. An input that is not usable is told, and the others go on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from ..files import remove_partial_files
from ..pictures.images import NOTICE
from .fleet import NOTHING, Begin, Handle, Item, Outcome, is_fleet, outcome_of, outcomes
from .inputs import find_pictures
from .results import Files, results_of, unwritable, write_report

Say = Callable[[str, TextIO], None]


def plan(args: argparse.Namespace, files: Files) -> tuple[list[Item], list[Outcome]]:
    """The inputs and their results, and those of which is known beforehand that they cannot be written.

    Raises:
        PulseError: nothing can be done: inputs that are missing, names that collide, outputs that cannot be written.
    """
    pictures, left_out = find_pictures(args.inputs)
    items = results_of(pictures, args.output, files, args.report)
    for line in left_out:
        print(line, file=sys.stderr)
    refused = [Outcome(item, NOTHING, reason) for item in items if (reason := unwritable(item, files))]
    names = {outcome.item for outcome in refused}
    return [item for item in items if item not in names], refused


def run_batch(
    args: argparse.Namespace,
    begin: Begin,
    items: list[Item],
    refused: list[Outcome],
    *,
    key: str,
    say: Say,
) -> int:
    """Works through the inputs, here or in workers; writes the report. Ctrl-C keeps what is finished.

    Args:
        begin: makes the function that handles an input.
        key: of the report's rows.
        say: prints a line.

    Returns: the exit status: 2 if an input was not usable.
    """
    folders = _folders(args)
    remove_partial_files(folders)
    found: dict[Path, list[dict[str, Any]]] = {}
    failed = set[Path]()
    try:
        for outcome in _all(args, begin, items, refused):
            source = outcome.item.source
            for note in outcome.done.notes:
                say(f"{source}: {note}", sys.stderr)
            if outcome.error:
                failed.add(source)
                say(f"{source}: {outcome.error}", sys.stderr)
            else:
                found[source] = outcome.done.rows
                for line in outcome.done.lines:
                    say(line, sys.stdout)
    finally:
        remove_partial_files(folders)  # of workers that were stopped
        sources = [item.source for item in items]
        rows = [row for source in sources for row in found.get(source, [])]
        write_report(args.report, key, rows, left=set(sources) - set(found) - failed)
    say(NOTICE, sys.stdout)
    return 2 if failed else 0


def _folders(args: argparse.Namespace) -> list[Path]:
    """Where files are written."""
    report = [] if args.report is None else [args.report.parent]
    return [args.output, args.output / "faces", *report]


def _all(args: argparse.Namespace, begin: Begin, items: list[Item], refused: list[Outcome]) -> Iterator[Outcome]:
    yield from refused
    if not items:
        return
    if is_fleet(args):
        yield from outcomes(begin, args, items)
    else:
        handle: Handle = begin(args)
        for item in items:
            yield outcome_of(handle, item)

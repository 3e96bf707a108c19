"""The commands of `python -m pulse_core`.

To add a command: write a file with NAME, HELP, `configure(parser)` and `run(args)`, and add it to COMMANDS.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import PulseError
from ..pictures.images import NOTICE
from . import convert, downsample, fetch, fit, inspect, photo, sample, upscale
from .memory import keep_freed_memory

COMMANDS = (upscale, photo, sample, downsample, fit, fetch, inspect, convert)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m pulse_core",
        description="PULSE: searches a frozen StyleGAN for faces that downscale to a low-resolution picture. " + NOTICE,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP[0].upper() + command.HELP[1:] + ".",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        command.configure(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0, 1 for a disk error, 2 for an unusable input, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files that its encoding lacks
    args = build_parser().parse_args(argv)
    keep_freed_memory()
    try:
        with _terminated_like_interrupted():
            return int(args.run(args) or 0)
    except PulseError as error:
        print(f"error: {error.found}\n  accepted: {error.accepted}\n  what to do: {error.remedy}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; finished results are kept, and no file is half-written.", file=sys.stderr)
        return 130


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: its report is written and its workers are stopped."""
    if threading.current_thread() is not threading.main_thread():  # only there handlers can be set
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

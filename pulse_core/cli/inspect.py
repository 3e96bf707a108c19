"""`inspect`: what a checkpoint is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..inspection import describe

NAME = "inspect"
HELP = "say what a checkpoint file is"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("file", metavar="FILE", help="a checkpoint file, or a known generator's name")
    parser.add_argument(
        "--mapping", type=Path, metavar="FILE", help="the mapping network's file, where it is one of its own"
    )
    parser.add_argument("--json", action="store_true", help="as JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    facts = describe(args.file, args.mapping)
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    width = max(map(len, facts))
    for name, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) else value if value is not None else "unknown"
        print(f"{name:<{width}}  {shown}")
    return 0

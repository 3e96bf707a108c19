"""`inspect`: describes a checkpoint."""

from __future__ import annotations

import argparse
import json

from ..loading.inspection import as_table, describe
from .options import add_mapping

NAME = "inspect"
HELP = "describe a checkpoint file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("file", metavar="FILE", help="a checkpoint file, or a name from the catalogue")
    add_mapping(parser)
    parser.add_argument("--json", action="store_true", help="as JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    metadata = describe(args.file, args.mapping)
    print(json.dumps(metadata, indent=2) if args.json else as_table(metadata))
    return 0

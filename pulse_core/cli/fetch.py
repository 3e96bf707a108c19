"""`fetch`: downloads a known checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..fetching.catalogue import fetchable, weights_dir
from ..fetching.fetch import fetch

NAME = "fetch"
HELP = "download a checkpoint of the catalogue, verify it, and write it as one .safetensors file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("name", metavar="NAME", help="one of: " + ", ".join(row.name for row in fetchable()))
    parser.add_argument("-o", "--output", type=Path, default=weights_dir(), metavar="DIR", help="folder for the file")


def run(args: argparse.Namespace) -> int:
    """Downloads the checkpoint unless it is there already."""
    fetch(args.name, args.output)
    return 0

"""`fetch`: downloads a known checkpoint."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..fetching.fetch import fetch
from ..loading.catalogue import downloadable, weights_dir

NAME = "fetch"
HELP = "download a checkpoint of the catalogue and verify it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("name", metavar="NAME", help="one of: " + ", ".join(row.name for row in downloadable()))
    parser.add_argument("-o", "--output", type=Path, default=weights_dir(), metavar="DIR", help="folder for the file")
    parser.add_argument("--yes", action="store_true", help="agree to the licence that is shown, without being asked")
    parser.add_argument("--safetensors", action="store_true", help="convert it, and keep the .safetensors file alone")


def run(args: argparse.Namespace) -> int:
    """Downloads the checkpoint unless it is there already."""
    fetch(args.name, args.output, agree=lambda text: args.yes or _agrees(text), as_safetensors=args.safetensors)
    return 0


def _agrees(question: str) -> bool:
    """Asks at a terminal; a script, which cannot answer, says --yes."""
    if not sys.stdin.isatty():
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")

"""`convert`: a checkpoint to one .safetensors file."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..loading.conversion import convert
from .options import add_mapping

NAME = "convert"
HELP = "convert a checkpoint to one .safetensors file that renders the same images"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("file", metavar="FILE", help="a checkpoint file, or a name from the catalogue")
    parser.add_argument("output", type=Path, metavar="OUT.safetensors", help="the file to write")
    add_mapping(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the file."""
    output = convert(args.file, args.output, args.mapping)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    return 0

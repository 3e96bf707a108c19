"""`convert`: any checkpoint as one .safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoints.conversion import convert
from .options import add_mapping

NAME = "convert"
HELP = "write any checkpoint as one .safetensors that draws the same images"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("file", metavar="FILE", help="a checkpoint file, or a known generator's name")
    parser.add_argument("output", type=Path, metavar="OUT.safetensors", help="where to")
    add_mapping(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the file."""
    output = convert(args.file, args.output, args.mapping)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    return 0

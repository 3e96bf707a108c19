"""`downsample`: bicubic downscaling, the forward operator of the search."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..degradations.bicubic import downsample
from ..pictures.images import to_rgb
from ..pictures.reading import read_picture

NAME = "downsample"
HELP = "downscale a picture with the forward operator of the search"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("input", type=Path, metavar="IN", help="a picture")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="the PNG to write")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--factor", type=int, metavar="N", help="an integer factor; a remainder is cropped")
    how.add_argument("--size", type=_size, metavar="N|WxH", help="the size of the result")


def run(args: argparse.Namespace) -> int:
    """Writes the PNG."""
    picture = read_picture(args.input)
    for note in picture.notes:
        print(f"{args.input}: {note}", file=sys.stderr)
    image = downsample(to_rgb(picture.native), factor=args.factor, size=args.size)
    picture.save(image, args.output)
    print(f"{args.output}: {image.shape[-1]}x{image.shape[-2]}")
    return 0


def _size(text: str) -> tuple[int, int]:
    """Parses 32 or 64x32 to (height, width)."""
    width, _, height = text.lower().partition("x")
    return int(height or width), int(width)

"""`sample`: invented faces from seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from ..errors import SettingError
from ..latents.sampling import sample
from ..latents.spaces import seed_range
from ..loading.load import load_generator
from ..pictures.images import NOTICE, save_image
from .options import add_class, add_generator, add_seed, chosen_device

NAME = "sample"
HELP = "render invented faces from seeds"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the faces")
    add_generator(parser)
    add_class(parser)
    add_seed(parser, "seed of the first face; the next ones count up")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="number of faces")
    parser.add_argument(
        "--truncation",
        type=float,
        default=0.7,
        metavar="PSI",
        help="truncation psi, from 0 (the mean face) to 1 (full variety)",
    )


def run(args: argparse.Namespace) -> int:
    """Writes seed<N>.png for each seed."""
    if args.count < 1 or not 0 <= args.truncation <= 1:
        raise SettingError(
            f"count is {args.count} and truncation is {args.truncation}.",
            "a count from 1 up, a truncation from 0 to 1.",
            "correct the option.",
        )
    generator = load_generator(args.generator, args.mapping, device=chosen_device(args))
    seeds = seed_range(args.seed, args.count)
    drawn = tqdm(sample(generator, seeds, args.truncation, args.class_index), total=args.count)
    for seed, (image, _) in zip(seeds, drawn, strict=True):
        metadata = {"seed": seed, "truncation": args.truncation, **generator.identity}
        save_image(image, args.output / f"seed{seed}.png", metadata)
    print(f"{args.count} written to {args.output}. {NOTICE}")
    return 0

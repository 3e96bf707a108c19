"""`fit`: the latent Gaussian of a generator."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ..gaussian import DEFAULT_SAMPLES, cache_path, fit_gaussian, fit_metadata
from ..loading import load_generator
from ..pipeline import best_device
from ..starts import DEFAULT_PAIRS, fit_starts
from .options import add_class, add_loading, add_seed

NAME = "fit"
HELP = "fit the latent Gaussian of a generator and keep it beside its checkpoint"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("generator", metavar="GENERATOR", help="a known generator or a checkpoint file")
    add_loading(parser)
    parser.add_argument("--samples", type=int, default=DEFAULT_SAMPLES, metavar="N", help="latents to map, 2 or more")
    parser.add_argument(
        "--starts",
        type=int,
        default=0,
        metavar="N",
        help=f"also learn to guess latents from pictures, from N rendered images ({DEFAULT_PAIRS} serve well): "
        "searches then begin closer",
    )
    add_class(parser)
    add_seed(parser, "of the samples")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where to; by default the cache beside the checkpoint"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the fit."""
    generator = load_generator(args.generator, args.mapping, device=args.device or best_device())
    label = args.class_index
    with _Bar(args.samples, "samples") as bar:
        fit = fit_gaussian(generator, args.samples, args.seed, class_index=label, on_progress=bar.count)
    if args.starts:
        with _Bar(args.starts, "images") as bar:
            fit = replace(fit, start=fit_starts(generator, fit, args.starts, class_index=label, on_progress=bar.count))
    output = args.output or cache_path(generator, args.samples, args.seed, args.class_index)
    assert output is not None  # a loaded generator has a file
    fit.save(output, fit_metadata(generator, args.samples, args.seed, args.class_index))
    guess = f", and a guess of latents from {args.starts} images" if args.starts else ""
    print(f"{output}: mean and covariance of {len(fit.mean)} dimensions from {args.samples} samples{guess}")
    return 0


class _Bar(tqdm):
    """A progress bar for what is counted."""

    def __init__(self, total: int, unit: str):
        super().__init__(total=total, unit=unit, unit_scale=True)

    def count(self, done: int, total: int) -> None:
        """So many are done."""
        self.update(done - self.n)

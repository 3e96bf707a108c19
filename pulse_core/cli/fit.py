"""`fit`: fits the latent Gaussian of a generator."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ..latents.encoder.network import encoder_path
from ..latents.encoder.training import DEFAULT_PAIRS, fit_encoder
from ..latents.fits import cache_path, fit_metadata, training_path
from ..latents.gaussian import DEFAULT_SAMPLES, fit_gaussian
from ..loading.load import load_generator
from .options import add_class, add_loading, add_seed, chosen_device

NAME = "fit"
HELP = "fit the latent Gaussian of a generator, and its encoder if asked for, and save them beside the checkpoint"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("generator", metavar="GENERATOR", help="a name from the catalogue, or a checkpoint file")
    add_loading(parser)
    parser.add_argument("--samples", type=int, default=DEFAULT_SAMPLES, metavar="N", help="latents to map, 2 or more")
    parser.add_argument(
        "--encoder",
        type=int,
        default=0,
        metavar="N",
        nargs="?",
        const=DEFAULT_PAIRS,
        help=f"also train an encoder on N rendered images ({DEFAULT_PAIRS} without N: about an hour on two cores, "
        "minutes on a GPU). It predicts the latent of a picture, so that searches start close to it. Training that was "
        "stopped resumes",
    )
    add_class(parser)
    add_seed(parser, "seed of the samples")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the file to write; default: one beside the checkpoint, which searches find there",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the fit."""
    generator = load_generator(args.generator, args.mapping, device=chosen_device(args))
    label = args.class_index
    with _Bars("samples") as bars:
        fit = fit_gaussian(generator, args.samples, args.seed, class_index=label, on_progress=bars.count)
    output = args.output or cache_path(generator, args.samples, args.seed, label)
    assert output is not None  # a loaded generator has a file
    if args.encoder:
        with _Bars("images", "steps") as bars:
            encoder = fit_encoder(
                generator,
                fit,
                args.encoder,
                class_index=label,
                cache=training_path(output),
                on_progress=bars.count,
            )
        fit = replace(fit, encoder=encoder)
    fit.save(output, fit_metadata(generator, args.samples, args.seed, label))
    shutil.rmtree(training_path(output), ignore_errors=True)
    print(f"{output}: mean and covariance of {len(fit.mean)} dimensions from {args.samples} samples")
    if args.encoder:
        print(f"{encoder_path(output)}: an encoder trained on {args.encoder} images")
    return 0


class _Bars:
    """One progress bar after another.

    Args:
        units: what each of them counts.
    """

    def __init__(self, *units: str):
        self._units, self._bar = list(units), tqdm(disable=True)

    def count(self, done: int, total: int) -> None:
        """Moves the current bar, or starts the next one if it is full."""
        if self._bar.disable or self._bar.n >= self._bar.total:
            self._bar.close()
            self._bar = tqdm(total=total, unit=self._units.pop(0), unit_scale=True)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

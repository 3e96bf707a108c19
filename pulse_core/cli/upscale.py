"""`upscale`: tiny pictures in, invented faces out."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..degradations import Degradation
from ..faces.targets import size_summary
from ..generators import Generator
from ..latent_search.config import SearchConfig
from ..latent_search.solution import Solution, latent_from_solutions
from ..latents.gaussian import LatentGaussian
from ..latents.latent import LATENT_SUFFIX, Latent
from ..pictures.images import NOTICE, read_image, read_metadata, save_image
from ..pictures.sheets import side_by_side
from ..pipeline import Target, choose_targets, load_with_fit, upscale
from .fleet import Handle, Item, Outcome, add_fleet, is_fleet, outcomes
from .inputs import find_pictures
from .options import (
    add_class,
    add_gaussian,
    add_generator,
    add_lr_size,
    add_search,
    add_seed,
    search_config,
    search_degradation,
)
from .progress import StepBar, Stopwatch
from .results import digest, fingerprint, result_metadata, results_of, verdict, write_report

NAME = "upscale"
HELP = "search for faces that downscale to the given pictures"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.description = (
        "Searches for faces that downscale to the given pictures. A second run does only what is missing or changed."
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="pictures, folders of them, or globs")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add_lr_size(parser, "a picture", "; pictures below 96 pixels, or with --degradation, are matched as they are")
    add_generator(parser)
    add_gaussian(parser)
    add_class(parser)
    add_seed(parser, "the same seed gives the same faces")
    add_search(parser)
    add_fleet(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a JSON report, one object per image")
    parser.add_argument(
        "--latents", action="store_true", help=f"also write each result's latent with its noise (*{LATENT_SUFFIX})"
    )
    parser.add_argument(
        "--init-latent", type=Path, metavar="FILE", help="start from a latent of this generator that was written before"
    )
    parser.add_argument(
        "--side-by-side",
        action="store_true",
        help="also write input, result, downscaled result and residual side by side",
    )


def run(args: argparse.Namespace) -> int:
    """Upscales the pictures; Ctrl-C keeps what is finished. The status is 2 if a worker met an unusable picture."""
    search_config(args), search_degradation(args)  # unusable settings fail before any work
    pictures = find_pictures(args.inputs)
    items = [Item(*pair) for pair in zip(pictures, results_of(pictures, args.output), strict=True)]
    rows: list[dict[str, Any]] = []
    failed = 0
    try:
        for outcome in outcomes(begin, args, items) if is_fleet(args) else _here(args, items):
            failed += bool(outcome.error)
            if outcome.error:
                print(f"{outcome.item.source}: {outcome.error}", file=sys.stderr)
            for row in outcome.rows:
                print(f"{row['output']}: {_matched(row)}{verdict(row)}")
            rows += outcome.rows
    finally:
        write_report(args.report, "images", rows)
    print(NOTICE)
    return 2 if failed else 0


def _matched(row: dict[str, Any]) -> str:
    """The size at which a picture was matched, where that is below its own."""
    summary = size_summary(row["lr_size"], row["input_size"])
    return f"{summary}, " if summary else ""


def begin(args: argparse.Namespace) -> Handle:
    """Makes a worker's function that upscales one picture."""
    work = _Work.of(args)
    return lambda item: work.picture(item, work.target(item))


def _here(args: argparse.Namespace, items: list[Item]) -> Iterator[Outcome]:
    """Upscales the pictures in this process. All of them are checked before the first search."""
    work = _Work.of(args)
    targets = [work.target(item) for item in items]
    for item, target in zip(items, targets, strict=True):
        yield Outcome(item, work.picture(item, target, show=True), "")


@dataclass(frozen=True)
class _Work:
    """What all pictures have in common."""

    generator: Generator
    gaussian: LatentGaussian
    config: SearchConfig
    degradation: Degradation | None
    init_latent: Latent | None
    args: argparse.Namespace

    @classmethod
    def of(cls, args: argparse.Namespace) -> _Work:
        init_latent = Latent.load(args.init_latent) if args.init_latent is not None else None
        given = LatentGaussian.load(args.gaussian) if args.gaussian is not None else None
        generator, gaussian = load_with_fit(
            args.generator, given, args.mapping, class_index=args.class_index, device=args.device
        )
        return cls(generator, gaussian, search_config(args), search_degradation(args), init_latent, args)

    def target(self, item: Item) -> Target:
        """The target of a picture's file."""
        return choose_targets([read_image(item.source)], self.generator, self.args.lr_size, self.degradation)[0]

    def picture(self, item: Item, target: Target, *, show: bool = False) -> list[dict[str, Any]]:
        """Writes the results unless they are up to date; returns a row of the report for each.

        Args:
            show: a progress bar.
        """
        paths = [item.result]
        if self.config.solutions > 1:
            numbers = range(1, self.config.solutions + 1)
            paths = [item.result.with_stem(f"{item.result.stem}-{number}") for number in numbers]
        recipe = self._recipe(item)
        if known := self._known(paths, recipe):
            return [self._row(item, path, metadata) for path, metadata in zip(paths, known, strict=True)]
        watch = Stopwatch()
        with StepBar(item.source.name, quiet=not show) as bar:
            solutions = upscale(
                target,
                self.generator,
                self.gaussian,
                self.config,
                seed=self.args.seed,
                init_latent=self.init_latent,
                on_step=bar,
            )
        seconds = watch.lap() / len(solutions)
        rows = []
        for path, solution in zip(paths, solutions, strict=True):
            metadata = result_metadata(target, solution, self.config, self.generator, seconds)
            metadata["recipe"] = recipe
            if self.args.latents:
                latent_from_solutions([solution], self.generator, [metadata]).save(path.with_suffix(LATENT_SUFFIX))
            save_image(solution.image, path, metadata)
            if self.args.side_by_side:
                _compare(path, solution, read_image(item.source))
            rows.append(self._row(item, path, metadata))
        return rows

    def _recipe(self, item: Item) -> str:
        """A hash of all that the result files depend on."""
        args, init_latent = self.args, self.args.init_latent
        init = None if init_latent is None else hashlib.sha256(init_latent.read_bytes()).hexdigest()
        also = (args.seed, args.degradation, init, args.latents, args.side_by_side, args.lr_size)
        return digest(fingerprint(item.source, self.generator, self.gaussian), asdict(self.config), also)

    def _known(self, paths: list[Path], recipe: str) -> list[dict[str, Any]]:
        """The metadata of all results, if all are up to date."""
        known = [metadata for path in paths if (metadata := read_metadata(path)) and metadata.get("recipe") == recipe]
        return known if len(known) == len(paths) else []

    @staticmethod
    def _row(item: Item, path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
        return {"input": str(item.source), "output": str(path), **metadata}


def _compare(path: Path, solution: Solution, given: Tensor) -> None:
    """Writes the side-by-side picture of a result beside `path`."""
    panels = {
        "input": given,
        "result (invented)": solution.image,
        f"result scaled back down, L2 {solution.l2:.5f}": solution.downscaled,
        f"residual: {solution.residual_face:.3f} in the face, {solution.residual_all:.3f} in all": (
            0.5 + solution.residual
        ).clamp(0, 1),
    }
    save_image(side_by_side(panels), path.with_stem(f"{path.stem}_side_by_side"))

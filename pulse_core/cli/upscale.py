"""`upscale`: tiny pictures in, invented faces out."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..degradations import Degradation
from ..faces.targets import PlainTarget, plain_target, size_summary
from ..generators import Generator
from ..latent_search.config import SearchConfig
from ..latent_search.solution import OnStep, Solution, StepState
from ..latents.gaussian import LatentGaussian
from ..latents.latent import LATENT_SUFFIX, Latent, latent_from_solutions
from ..pictures.images import NOTICE, prepare_target, read_image, read_metadata, save_image
from ..pictures.sheets import side_by_side
from ..pipeline import load_with_fit, upscale
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
from .results import digest, fingerprint, results_of, search_metadata, verdict, write_report

NAME = "upscale"
HELP = "invent faces that downscale to the given pictures"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.description = (
        "Invents faces that downscale to the given pictures. Started again, it does only what is missing or changed."
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="pictures, folders of them, or globs")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the results go")
    add_lr_size(parser, "a picture", "; fewer than 96 pixels, or with --degradation, are matched as they are")
    add_generator(parser)
    add_gaussian(parser)
    add_class(parser)
    add_seed(parser, "the same seed gives the same faces")
    add_search(parser)
    add_fleet(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a JSON report, one object an image")
    parser.add_argument(
        "--latents", action="store_true", help=f"also write each result's latent with its noise (*{LATENT_SUFFIX})"
    )
    parser.add_argument(
        "--init-latent", type=Path, metavar="FILE", help="a written latent of this generator to go on from"
    )
    parser.add_argument(
        "--side-by-side", action="store_true", help="also write input, result, its downscaling and residual in a row"
    )


def run(args: argparse.Namespace) -> int:
    """Works through the pictures; a stop keeps what is finished. 2 if a worker met one that cannot be used."""
    search_config(args), search_degradation(args)  # what is wrong with them is told before any work
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
    """At which size, where that is less than the picture has."""
    told = size_summary(row["lr_size"], row["input_size"])
    return f"{told}, " if told else ""


def begin(args: argparse.Namespace) -> Handle:
    """What a worker does with each picture."""
    work = _Work.of(args)
    return lambda item: work.picture(item)


def _here(args: argparse.Namespace, items: list[Item]) -> Iterator[Outcome]:
    """In this process, every picture checked before the first search."""
    work = _Work.of(args)
    targets = [work.target(item) for item in items]
    for item, target in zip(items, targets, strict=True):
        with Bar(item.source.name) as bar:
            rows = work.picture(item, target, bar)
        yield Outcome(item, rows, "")


@dataclass(frozen=True)
class _Work:
    """What is done to every picture, and what of it is there already."""

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

    def target(self, item: Item) -> PlainTarget:
        """What is matched, [3, h, w]; a degradation knows which sizes there may be."""
        picture, size = read_image(item.source), self.generator.size
        target = plain_target(picture, self.args.lr_size, size, self.degradation)
        prepare_target(target.picture, self.generator, any_size=self.degradation is not None)
        return target

    def picture(
        self, item: Item, target: PlainTarget | None = None, on_step: OnStep | None = None
    ) -> list[dict[str, Any]]:
        """Writes the results unless they are there; returns a row of the report for each."""
        paths = [item.result]
        if self.config.solutions > 1:
            numbers = range(1, self.config.solutions + 1)
            paths = [item.result.with_stem(f"{item.result.stem}-{number}") for number in numbers]
        recipe = self._recipe(item)
        if known := self._known(paths, recipe):
            return [self._row(item, path, metadata) for path, metadata in zip(paths, known, strict=True)]
        target = self.target(item) if target is None else target
        started = time.perf_counter()
        options: dict[str, Any] = {"seed": self.args.seed, "degradation": self.degradation}
        solutions = upscale(
            target.picture,
            self.generator,
            self.gaussian,
            self.config,
            init_latent=self.init_latent,
            **options,
            on_step=on_step,
        )
        seconds = (time.perf_counter() - started) / len(solutions)
        rows = []
        for path, solution in zip(paths, solutions, strict=True):
            found = search_metadata(solution, self.config, self.generator, seconds, self.args.degradation)
            metadata = {**_size_metadata(target), **found, "recipe": recipe}
            if self.args.latents:
                latent_from_solutions([solution], self.generator, [metadata]).save(path.with_suffix(LATENT_SUFFIX))
            save_image(solution.image, path, metadata)
            if self.args.side_by_side:
                _compare(path, solution, read_image(item.source))
            rows.append(self._row(item, path, metadata))
        return rows

    def _recipe(self, item: Item) -> str:
        """What a result depends on, and what is written besides."""
        args, init_latent = self.args, self.args.init_latent
        begins = None if init_latent is None else hashlib.sha256(init_latent.read_bytes()).hexdigest()
        also = (args.seed, args.degradation, begins, args.latents, args.side_by_side, args.lr_size)
        return digest(fingerprint(item.source, self.generator, self.gaussian), asdict(self.config), also)

    def _known(self, paths: list[Path], recipe: str) -> list[dict[str, Any]]:
        """The metadata of all results, where all are there."""
        known = [metadata for path in paths if (metadata := read_metadata(path)) and metadata.get("recipe") == recipe]
        return known if len(known) == len(paths) else []

    @staticmethod
    def _row(item: Item, path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
        return {"input": str(item.source), "output": str(path), **metadata}


class Bar:
    """A progress bar over the steps of one input's solutions, with the current L2."""

    def __init__(self, title: str):
        self._bar = tqdm(total=0, desc=title, unit="step", file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, state: StepState) -> None:
        self._bar.n, self._bar.total = state.progress
        if state.is_full:
            loss, l2, best = state.means
            self._bar.set_postfix_str(f"loss {loss:.3f}, L2 {l2:.4f}, best {best:.4f}", refresh=False)
        self._bar.update(0)


def _size_metadata(target: PlainTarget) -> dict[str, Any]:
    """At which size a picture is matched, how many pixels wide it was, and what was measured."""
    estimate = None if target.estimate is None else target.estimate.metadata
    return {"lr_size": target.picture.shape[-1], "input_size": target.input_size, "estimate": estimate}


def _compare(path: Path, solution: Solution, given: Tensor) -> None:
    """The side-by-side picture of a result beside `path`."""
    left = f"not the generator's: {solution.residual_face:.3f} in the face, {solution.residual_all:.3f} in all"
    panels = {
        "input": given,
        "result (invented)": solution.image,
        f"result scaled back down, L2 {solution.l2:.5f}": solution.downscaled,
        left: (0.5 + solution.residual).clamp(0, 1),
    }
    save_image(side_by_side(panels), path.with_stem(f"{path.stem}_side_by_side"))

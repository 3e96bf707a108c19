"""`upscale`: tiny pictures in, invented faces out."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..checkpoints import safetensors_format
from ..degradations import Degradation, Grey
from ..errors import CheckpointError
from ..faces.targets import size_summary
from ..generators import Generator
from ..latent_search.config import SearchConfig
from ..latent_search.solution import Solution, latent_from_solutions
from ..latents.gaussian import LatentGaussian
from ..latents.latent import LATENT_SUFFIX, Latent
from ..pictures.colour import ColourSpace
from ..pictures.images import read_metadata, to_rgb
from ..pictures.picture import Picture
from ..pictures.reading import PictureFile
from ..pictures.sheets import side_by_side
from ..pipeline import Target, choose_targets, load_with_fit, upscale
from .batch import plan, run_batch
from .fleet import Done, Handle, Item, add_fleet, is_fleet
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
from .results import (
    digest,
    digest_of_degradation,
    digest_of_tensors,
    is_current,
    result_metadata,
    side_by_side_of,
    verdict,
)

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
    """Upscales the pictures. One that is not usable is reported and skipped; the status is then 2."""
    config, _ = search_config(args), search_degradation(args)  # unusable settings fail before any work

    def files(result: Path) -> list[Path]:
        return [file for path in _results(result, config) for file in (path, *_companions(path, args))]

    items, refused = plan(args, files)
    return run_batch(args, begin, items, refused, key="images", say=_say)


def _say(text: str, file: Any) -> None:
    tqdm.write(text, file=file)


def _results(result: Path, config: SearchConfig) -> list[Path]:
    """The path of each solution."""
    if config.solutions == 1:
        return [result]
    return [result.with_stem(f"{result.stem}-{number}") for number in range(1, config.solutions + 1)]


def _companions(result: Path, args: argparse.Namespace) -> list[Path]:
    """The files that are written beside a result."""
    latent = [result.with_suffix(LATENT_SUFFIX)] if args.latents else []
    return [*latent, side_by_side_of(result)] if args.side_by_side else latent


def _matched(row: dict[str, Any]) -> str:
    """The size at which a picture was matched, where that is below its own."""
    summary = size_summary(row["lr_size"], row["input_size"])
    return f"{summary}, " if summary else ""


def begin(args: argparse.Namespace) -> Handle:
    """Makes the function that upscales one picture."""
    work = _Work.of(args)
    return work.picture


@dataclass(frozen=True)
class _Work:
    """What all pictures have in common.

    recipe: a hash of all that the results depend on, except the picture.
    """

    generator: Generator
    gaussian: LatentGaussian
    config: SearchConfig
    degradation: Degradation | None
    init_latent: Latent | None
    recipe: str
    args: argparse.Namespace

    @classmethod
    def of(cls, args: argparse.Namespace) -> _Work:
        config, degradation = search_config(args), search_degradation(args)
        init = Latent.load(args.init_latent) if args.init_latent is not None else None
        given = LatentGaussian.load(args.gaussian) if args.gaussian is not None else None
        generator, gaussian = load_with_fit(
            args.generator, given, args.mapping, class_index=args.class_index, device=args.device
        )
        recipe = digest(
            asdict(config),
            gaussian.digest,
            generator.identity,
            digest_of_degradation(degradation),
            None if init is None else digest_of_tensors([init.ws, *init.noise]),
            (args.seed, args.lr_size),
        )
        return cls(generator, gaussian, config, degradation, init, recipe, args)

    def picture(self, item: Item) -> Done:
        """Writes the results unless they are up to date; returns a row of the report for each."""
        source = PictureFile.read(item.source)
        paths, recipe = _results(item.result, self.config), digest(source.digest, self.recipe)
        if known := self._known(paths, recipe):
            return _done(item, paths, known)
        picture = source.decode()
        target = choose_targets([picture.srgb], self.generator, self.args.lr_size, self.degradation)[0]
        solutions, seconds = self._search(item, target)
        own = _in_colour(picture) if self._adds_colour else picture
        made = []
        for path, solution in zip(paths, solutions, strict=True):
            metadata = result_metadata(target, solution, self.config, self.generator, seconds / len(solutions))
            metadata["recipe"] = recipe
            if self.args.latents:
                latent_from_solutions([solution], self.generator, [metadata]).save(path.with_suffix(LATENT_SUFFIX))
            if self.args.side_by_side:
                _compare(path, solution, own, recipe)
            own.save(own.from_srgb(solution.image), path, metadata)  # last: a result with this recipe is complete
            made.append(metadata)
        return _done(item, paths, made, picture.notes)

    @property
    def _adds_colour(self) -> bool:
        """Whether a grey picture is said to be one of a face in colour."""
        parts = getattr(self.degradation, "parts", (self.degradation,))
        return any(isinstance(part, Grey) for part in parts)

    def _search(self, item: Item, target: Target) -> tuple[list[Solution], float]:
        """The solutions, and the seconds that all of them took."""
        watch = Stopwatch()
        with StepBar(item.source.name, quiet=is_fleet(self.args)) as bar:
            solutions = upscale(
                target,
                self.generator,
                self.gaussian,
                self.config,
                seed=self.args.seed,
                init_latent=self.init_latent,
                on_step=bar,
            )
        return solutions, watch.lap()

    def _known(self, paths: list[Path], recipe: str) -> list[dict[str, Any]]:
        """The metadata of all results, if all are up to date, whole, and have what belongs beside them."""
        known = [metadata for path in paths if (metadata := read_metadata(path)) and metadata.get("recipe") == recipe]
        complete = len(known) == len(paths) and all(
            _latent_is_current(file, recipe) if file.name.endswith(LATENT_SUFFIX) else is_current(file, recipe)
            for path in paths
            for file in _companions(path, self.args)
        )
        return known if complete else []


def _done(item: Item, paths: list[Path], metadata: list[dict[str, Any]], notes: tuple[str, ...] = ()) -> Done:
    """The rows of the report, and a line on each result."""
    rows = [
        {"input": str(item.source), "output": str(path), **each} for path, each in zip(paths, metadata, strict=True)
    ]
    return Done(rows, tuple(f"{row['output']}: {_matched(row)}{verdict(row)}" for row in rows), notes)


def _latent_is_current(path: Path, recipe: str) -> bool:
    """Whether a latent file is whole and was made by this recipe."""
    if not path.is_file():
        return False
    try:
        _, metadata = safetensors_format.load(path)
    except (CheckpointError, OSError):
        return False
    return recipe in str(metadata.get("records"))


def _in_colour(picture: Picture) -> Picture:
    """The picture in sRGB, whose results have colours even if it has none."""
    return replace(picture, pixels=picture.srgb, space=ColourSpace(3), keeps_grey=False)


def _compare(path: Path, solution: Solution, own: Picture, recipe: str) -> None:
    """Writes the side-by-side picture of a result beside `path`."""
    panels = {
        "input": to_rgb(own.native),
        "result (invented)": own.from_srgb(solution.image),
        f"result scaled back down, L2 {solution.l2:.5f}": own.from_srgb(solution.downscaled),
        f"residual: {solution.residual_face:.3f} in the face, {solution.residual_all:.3f} in all": (
            0.5 + solution.residual
        ).clamp(0, 1),
    }
    own.save(side_by_side(panels), side_by_side_of(path), {"recipe": recipe})

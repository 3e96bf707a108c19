"""`upscale`: tiny pictures in, invented faces out."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..gaussian import LatentGaussian
from ..images import NOTICE, prepare_target, read_image, save_image
from ..latent_search.solution import Solution, StepState
from ..pipeline import load_with_fit, upscale
from ..saved_latents import LATENT_SUFFIX, Latent, latent_of
from ..sheets import side_by_side
from .inputs import find_pictures
from .options import add_class, add_gaussian, add_generator, add_search, add_seed, search_config, search_degradation
from .results import results_of, search_facts, verdict, write_report

NAME = "upscale"
HELP = "invent faces that downscale to the given pictures"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="pictures, folders of them, or globs")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the results go")
    add_generator(parser)
    add_gaussian(parser)
    add_class(parser)
    add_seed(parser, "the same seed gives the same faces")
    add_search(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a JSON report, one object an image")
    parser.add_argument(
        "--latents", action="store_true", help=f"also write each result's latent with its noise (*{LATENT_SUFFIX})"
    )
    parser.add_argument(
        "--start-latent", type=Path, metavar="FILE", help="a written latent of this generator to go on from"
    )
    parser.add_argument(
        "--side-by-side", action="store_true", help="also write input, result and its downscaling in a row"
    )


def run(args: argparse.Namespace) -> int:
    """Checks every input first, then works through them; a stop keeps what is finished."""
    config, degradation = search_config(args), search_degradation(args)
    pictures = find_pictures(args.inputs)
    outputs = results_of(pictures, args.output)
    start = Latent.load(args.start_latent) if args.start_latent is not None else None
    given = LatentGaussian.load(args.gaussian) if args.gaussian is not None else None
    generator, gaussian = load_with_fit(
        args.generator, given, args.mapping, class_index=args.class_index, device=args.device
    )
    any_size = degradation is not None  # then the search knows which sizes there may be
    targets = [prepare_target(read_image(picture), generator, any_size=any_size) for picture in pictures]
    rows: list[dict[str, Any]] = []
    try:
        for picture, output, target in zip(pictures, outputs, targets, strict=True):
            started = time.perf_counter()
            with Bar(picture.name) as bar:
                options: dict[str, Any] = {"seed": args.seed, "degradation": degradation, "start": start}
                solutions = upscale(target, generator, gaussian, config, **options, on_step=bar)
            seconds = (time.perf_counter() - started) / len(solutions)
            for number, solution in enumerate(solutions, 1):
                path = output.with_stem(f"{output.stem}-{number}") if len(solutions) > 1 else output
                facts = search_facts(solution, config, generator, seconds, args.degradation)
                _write(path, solution, target, facts, args.side_by_side)
                if args.latents:
                    latent_of([solution], generator, [facts]).save(path.with_suffix(LATENT_SUFFIX))
                rows.append({"input": str(picture), "output": str(path), **facts})
                print(f"{path}: {verdict(facts)}")
    finally:
        write_report(args.report, "images", rows)
    print(NOTICE)
    return 0


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
        loss, l2, best = (float(value.mean()) for value in (state.loss, state.l2, state.best_l2))
        self._bar.set_postfix_str(f"loss {loss:.3f}, L2 {l2:.4f}, best {best:.4f}")


def _write(path: Path, solution: Solution, target: Tensor, facts: dict[str, Any], compare: bool) -> None:
    """The result, and where asked the side-by-side picture."""
    save_image(solution.image, path, facts)
    if compare:
        found = f"result (invented), L2 {solution.l2:.4f}"
        panels = {"input": target[0], found: solution.image, "result scaled back down": solution.downscaled}
        save_image(side_by_side(panels), path.with_stem(f"{path.stem}_side_by_side"))

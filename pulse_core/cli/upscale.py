"""`upscale`: tiny pictures in, invented faces out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..errors import SettingError
from ..files import whole_file
from ..gaussian import LatentGaussian
from ..generators import Generator
from ..images import NOTICE, prepare_target, read_image, save_image, side_by_side
from ..latent_search.config import SearchConfig
from ..latent_search.loop import Solution, StepState
from ..pipeline import load_with_fit, upscale
from .options import add_class, add_gaussian, add_generator, add_search, add_seed, search_config

NAME = "upscale"
HELP = "invent faces that downscale to the given pictures"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="pictures, or folders of them")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the results go")
    add_generator(parser)
    add_gaussian(parser)
    add_class(parser)
    add_seed(parser, "the same seed gives the same faces")
    add_search(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a JSON report, one object an image")
    parser.add_argument(
        "--side-by-side", action="store_true", help="also write input, result and its downscaling in a row"
    )


def run(args: argparse.Namespace) -> int:
    """Checks every input first, then works through them; a stop keeps what is finished."""
    config = search_config(args)
    pictures = _pictures(args.inputs)
    outputs = _outputs(pictures, args.output)
    given = LatentGaussian.load(args.gaussian) if args.gaussian is not None else None
    generator, gaussian = load_with_fit(
        args.generator, given, args.mapping, class_index=args.class_index, device=args.device
    )
    targets = [prepare_target(read_image(picture), generator) for picture in pictures]
    rows: list[dict[str, Any]] = []
    try:
        for picture, output, target in zip(pictures, outputs, targets, strict=True):
            started = time.perf_counter()
            with Bar(picture.name) as bar:
                solutions = upscale(target, generator, gaussian, config, seed=args.seed, on_step=bar)
            seconds = (time.perf_counter() - started) / len(solutions)
            for number, solution in enumerate(solutions, 1):
                path = output.with_stem(f"{output.stem}-{number}") if len(solutions) > 1 else output
                row = _row(picture, path, solution, config, generator, seconds)
                _write(path, solution, target, row, args.side_by_side)
                rows.append(row)
                print(_sentence(row))
    finally:
        if args.report is not None and rows:
            with whole_file(args.report) as temporary:
                temporary.write_text(json.dumps({"notice": NOTICE, "images": rows}, indent=2) + "\n", encoding="utf-8")
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


def _pictures(inputs: list[Path]) -> list[Path]:
    """Files as given, folders as the pictures in them."""
    found: list[Path] = []
    for path in inputs:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES) if path.is_dir() else [path]
        if not inside:
            raise SettingError(f"The folder {path} holds no pictures.", ", ".join(PICTURES), "name another folder.")
        found += inside
    return found


def _outputs(pictures: list[Path], folder: Path) -> list[Path]:
    """One result file for each picture; no two the same, and none an input."""
    outputs = [folder / f"{picture.stem}.png" for picture in pictures]
    for picture, output in zip(pictures, outputs, strict=True):
        if outputs.count(output) > 1 or output.resolve() in {p.resolve() for p in pictures}:
            raise SettingError(
                f"The result of {picture} would be written to {output}, which another result or an input has.",
                "inputs with different names, and a folder of its own for the results.",
                "rename an input or choose another folder with -o.",
            )
    return outputs


def _row(
    picture: Path, path: Path, solution: Solution, config: SearchConfig, generator: Generator, seconds: float
) -> dict[str, Any]:
    """One object of the report."""
    return {
        "input": str(picture),
        "output": str(path),
        **solution.facts(config.eps),
        "best_step": solution.best_step,
        "seconds": round(seconds, 3),
        "generator": generator.name,
        "generator_hash": generator.content_hash,
        "settings": asdict(config),
    }


def _write(path: Path, solution: Solution, target: Tensor, row: dict[str, Any], compare: bool) -> None:
    """The result, and where asked the side-by-side picture."""
    facts = {key: row[key] for key in ("seed", "l2", "eps", "converged", "generator", "generator_hash", "settings")}
    save_image(solution.image, path, facts)
    if compare:
        found = f"result (invented), L2 {solution.l2:.4f}"
        panels = {"input": target[0], found: solution.image, "result scaled back down": solution.downscaled}
        save_image(side_by_side(panels), path.with_stem(f"{path.stem}_side_by_side"))


def _sentence(row: dict[str, Any]) -> str:
    state = "found" if row["converged"] else "not within eps; the best is kept"
    return (
        f"{row['output']}: L2 {row['l2']:.5f} (eps {row['eps']:g}), {state}, seed {row['seed']}, {row['seconds']:.1f} s"
    )

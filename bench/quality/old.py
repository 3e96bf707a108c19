"""Old photographs: portraits with chains of degradations that are unknown to the search.

    python -m bench.quality.old [--only ROW ...] [--first N]

Each of 24 fixed chains is in the spirit of second-order degradation models (Wang et al. 2021, arXiv 2107.10833): blur,
shrinking, noise and JPEG, once or twice, and then the size that the file has. Rows: the file enlarged; matched at the
size of the file, as before; matched at the estimated size, with the estimated degradation; the published search. Writes
bench/OLD.json, bench/OLD.md and bench/sheets/old_*.jpg. Existing results are not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from bench.scorers.identity import Identity
from bench.scorers.niqe import niqe
from bench.scorers.realism import classifier
from bench.speed.table import table
from pulse_core.degradations.bicubic import downsample
from pulse_core.degradations.text import parse_degradation
from pulse_core.errors import ImageError
from pulse_core.faces.estimation import DegradationEstimate, estimate_degradation
from pulse_core.faces.sizes import MAX_SIZE, lr_size
from pulse_core.files import whole_file
from pulse_core.generators import Generator
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.pictures.images import read_image, save_image
from pulse_core.pipeline import load_with_fit

from .sheets import resized, save_jpeg, titled
from .targets import PORTRAITS

BENCH = Path(__file__).resolve().parents[1]
PICTURES = BENCH.parent / "out" / "old"
BICUBIC, FILE, MEASURED, PUBLISHED_ROW = ROWS = ("enlarged", "at the file's size", "measured", "published")
SIDE, A_SHEET = 256, 6


@dataclass(frozen=True)
class Chain:
    """Stages in order: texts of degradations, or sizes in pixels to resize to."""

    stages: tuple[str | int, ...]

    def __call__(self, truth: Tensor, seed: int) -> Tensor:
        """[3, S, S] -> [3, h, h], in 8 bits."""
        random = torch.Generator().manual_seed(seed)
        x = truth[None]
        for stage in self.stages:
            if isinstance(stage, int):
                if stage <= x.shape[-1]:
                    x = downsample(x, size=(stage, stage))
                else:
                    x = F.interpolate(x, (stage, stage), mode="bicubic", align_corners=False)
            else:
                x = parse_degradation(stage).apply(x.clamp(0, 1), random)
            x = x.clamp(0, 1)
        return (x[0] * 255).round() / 255


CHAINS = tuple(
    Chain(stages)
    for stages in (
        (128, "blur(1)", "noise(0.02)"),
        (96, "blur(1.2)", "grey", "noise(0.03)"),
        (64, "jpeg(60)"),
        (256, "blur(4)", 128, "noise(0.03)", "jpeg(70)"),
        (128, "noise(0.05)", 80, "grey"),
        (40, 160, "jpeg(50)"),
        (24, 256),
        (256, "blur(3)", 64, "noise(0.02)", 96),
        (96, "noise(0.06)", "jpeg(40)"),
        (128, "blur(1.5)", "jpeg(50)", 80, "noise(0.02)", "jpeg(80)"),
        (48, "grey", 192, "noise(0.04)"),
        (256, "motion(6, 20)", 128, "jpeg(80)"),
        (80, "blur(1)", "grey", "noise(0.05)"),
        (64, "noise(0.03)", 128, "jpeg(60)"),
        (32, "jpeg(80)", 128),
        (192, "blur(2.5)", "noise(0.04)", "jpeg(60)"),
        (128, "jpeg(30)"),
        (100, "blur(1.5)", "grey", "noise(0.02)", 80, "jpeg(85)"),
        (256, "blur(2)", 96, "noise(0.08)"),
        (48, 96, "noise(0.02)", "jpeg(50)"),
        (72, "blur(0.8)", "noise(0.03)", "jpeg(70)"),
        (160, "blur(3)", 80, "grey", "noise(0.03)"),
        (56, "noise(0.02)", "jpeg(70)", 112, "blur(1)"),
        (128, "blur(2)", "noise(0.02)", "jpeg(75)", 64, "jpeg(75)"),
    )
)


def given(number: int) -> tuple[str, Tensor, Tensor]:
    """The name of the portrait, its truth [3, S, S], and the degraded picture."""
    name = f"p{number % 16 + 1:02d}"
    truth = read_image(PORTRAITS / f"{name}.jpg")
    return name, truth, CHAINS[number](truth, number)


def made(
    row: str, picture: Tensor, estimate: DegradationEstimate, generator: Generator, gaussian: LatentGaussian
) -> Tensor:
    """The picture [3, H, W] of a row for a degraded portrait."""
    if row == BICUBIC:
        return F.interpolate(picture[None], generator.size, mode="bicubic", align_corners=False).clamp(0, 1)[0]
    size, degradation, config = min(lr_size(picture.shape[-1], generator.size[1]), MAX_SIZE), None, RECOMMENDED
    if row == PUBLISHED_ROW:
        config = PUBLISHED
    if row == MEASURED and estimate.is_sure:
        size = min(estimate.size, MAX_SIZE)
        degradation = estimate.degradation(size)
    target = resized(picture, size)
    (found,) = search(generator, target[None], gaussian, config, degradation=degradation)
    image = found.image
    return parse_degradation("grey").forward(image[None])[0] if row == MEASURED and estimate.is_grey else image


def scored(image: Tensor, truth: Tensor, picture: Tensor, identity: Identity) -> dict[str, Any]:
    """Scores against the truth, at its size; and the error against the degraded picture, both at 32 pixels."""
    seen = resized(image, truth.shape[-1])
    difference = resized(image, 32) - resized(picture, 32)
    metadata: dict[str, Any] = {"identity": Identity.distance(identity.descriptor(image), identity.descriptor(truth))}
    metadata["off"] = float(difference.square().mean().sqrt())
    try:
        metadata |= {"gap": abs(niqe(seen) - niqe(truth)), "natural": classifier().evaluate(seen)[0]}
    except ImageError:  # too smooth for NIQE
        metadata |= {"gap": None, "natural": None}
    return metadata


def main() -> None:
    """Runs the missing searches, and writes the table and the sheets."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality.old", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=ROWS, default=list(ROWS[:-1]), help="rows (default all but the last)"
    )
    parser.add_argument("--first", type=int, default=len(CHAINS), metavar="N", help="only the first N chains")
    args = parser.parse_args()
    path = BENCH / "OLD.json"
    cells: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    generator, gaussian = load_with_fit("ffhq-mobile")
    identity = Identity.load()
    for number in tqdm(range(min(args.first, len(CHAINS)))):
        name, truth, picture = given(number)
        estimate = estimate_degradation(picture)
        for row in args.only:
            if f"{number}|{row}" in cells and (PICTURES / f"{number}|{row}.png").is_file():
                continue
            started = time.perf_counter()
            image = made(row, picture, estimate, generator, gaussian)
            taken = time.perf_counter() - started
            save_image(image, PICTURES / f"{number}|{row}.png")
            metadata = {
                "portrait": name,
                "estimate": estimate.summary,
                "seconds": taken,
                **scored(image, truth, picture, identity),
            }
            cells[f"{number}|{row}"] = metadata
            with whole_file(path) as file:
                file.write_text(json.dumps(cells, indent=1) + "\n")
    with whole_file(BENCH / "OLD.md") as file:
        file.write_text(report(cells))
    write_sheets()


def report(cells: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = []
    for row in ROWS:
        found = [metadata for key, metadata in cells.items() if key.split("|")[1] == row]
        if not found:
            continue
        gaps = [each["gap"] for each in found if each["gap"] is not None]
        natural = [each["natural"] for each in found if each["natural"] is not None]
        numbers = [fmean(each["identity"] for each in found), fmean(gaps) if gaps else None]
        numbers += [fmean(natural) if natural else None, 255 * fmean(each["off"] for each in found)]
        cells_ = ["-" if number is None else f"{number:.3f}" for number in numbers]
        times = [each["seconds"] for each in found if each["seconds"] is not None]  # None: the machine was busy
        lines.append([row, str(len(found)), *cells_, f"{median(times):.1f}" if times else "-"])
    names = ["row", "n", "identity", "NIQE gap", "natural", "off of 255 at 32", "s"]
    text = (
        "Portraits of bench/photographs, degraded by chains of blur, downscaling, noise, JPEG and grey that the search "
        "does not know (`python -m bench.quality.old`). Identity: distance to the true face. NIQE gap: difference from "
        "the true photograph's. Natural: realism. Off: root mean square error against the degraded picture, both "
        "downscaled to 32 pixels.\n\nAn invented face: this person does not exist. It shows one of many "
        "faces that fit, and identifies nobody."
    )
    return table("Old photographs", names, lines, text)


def write_sheets() -> None:
    """The rows and the truth, six chains per sheet."""
    shown = ROWS
    for first in range(0, len(CHAINS), A_SHEET):
        rows = []
        for number in range(first, min(first + A_SHEET, len(CHAINS))):
            files = [PICTURES / f"{number}|{row}.png" for row in shown]
            if not any(file.is_file() for file in files):
                continue
            _, truth, _picture = given(number)
            none = torch.full((3, SIDE, SIDE), 0.5)
            columns = [resized(read_image(file), SIDE) if file.is_file() else none for file in files]
            rows.append([*columns, resized(truth, SIDE)])
        if rows:
            stacked = [torch.cat(column, 1) for column in zip(*rows, strict=True)]
            save_jpeg(titled(stacked, (*shown, "truth")), BENCH / "sheets" / f"old_{first // A_SHEET + 1}.jpg", 80)


if __name__ == "__main__":
    main()

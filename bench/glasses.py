"""Finds the direction of glasses in W of ffhq-mobile, and writes it into the fit that is shipped.

384 samples were looked at, one by one (`--sheets` draws them). Listed here are those that wear glasses, and those that
nobody could tell: sunglasses, and traces of frames. The others wear none. What is printed is how well the direction
tells samples apart that it was not fitted to, as the area under the ROC curve.

    python -m bench.glasses [--sheets FOLDER] [--portraits] [--write]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pulse_core.checkpoints import read_checkpoint
from pulse_core.degradations.bicubic import downsample
from pulse_core.generators import Generator
from pulse_core.latent_search.config import GLASSES as GLASSES_CHOICES
from pulse_core.latent_search.config import RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.latents.attributes import Attribute, fit_attribute
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.loading import catalogue
from pulse_core.pictures.images import save_image, to_picture
from pulse_core.pipeline import load_with_fit

from .quality.sheets import SIDE, resized, write_sheet
from .quality.targets import degraded_and_clean, faces
from .scorers.identity import Identity

SHEET = Path("bench/sheets/glasses.jpg")
SAMPLES, SEED, FOLDS = 384, 123, 8
LEADING, RIDGE = 40, 0.1  # of 20 to 512 axes and 0.1 to 10, the best area
GLASSES = (
    *(1, 5, 18, 19, 20, 24, 27, 28, 41, 43, 44, 60, 67, 68, 69, 76, 80, 89, 109, 115, 124, 130, 131, 133, 139, 151),
    *(152, 154, 155, 156, 168, 175, 183, 191, 195, 197, 207, 222, 239, 241, 247, 250, 252, 255, 258, 265, 272, 283),
    *(293, 298, 299, 304, 308, 309, 310, 312, 317, 325, 330, 339, 340, 344, 347, 355, 360, 364, 372, 375, 376, 379),
    *(381, 383),
)
PORTRAITS_WITH = ("p06", "p07", "p11", "p13", "p15")
UNSURE = (4, 22, 35, 105, 125, 126, 161, 174, 212, 226, 318, 322, 326, 327, 348, 363)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheets", type=Path, help="draw the samples, 48 a picture, into this folder")
    parser.add_argument("--portraits", action="store_true", help=f"search the portraits with glasses for {SHEET}")
    parser.add_argument("--write", action="store_true", help="write the direction into the shipped fit")
    args = parser.parse_args()
    generator, gaussian = load_with_fit("ffhq-mobile", device="cpu")
    with torch.no_grad():
        z = torch.randn(SAMPLES, generator.z_dim, generator=torch.Generator().manual_seed(SEED))
        w = generator.mapping.map_to_w(z, None)
    if args.sheets:
        draw_sheets(generator, w, args.sheets)
    rows = [row for row in range(SAMPLES) if row not in UNSURE]
    white, has = gaussian.whiten(w)[rows], torch.tensor([row in GLASSES for row in rows])
    print(f"{int(has.sum())} of {len(rows)} with glasses, area under the curve {area(white, has, gaussian):.3f}")
    attribute = _fit(white, has, gaussian)
    for name, (mean, std) in zip(("without", "with"), attribute.modes.tolist(), strict=True):
        print(f"{name} glasses: {mean:.2f} +- {std:.2f}")
    if args.write:
        write(attribute, generator)
    if args.portraits:
        search_portraits(generator, replace(gaussian, glasses=attribute))


def _fit(white: Tensor, has: Tensor, gaussian: LatentGaussian) -> Attribute:
    return fit_attribute(white, has, gaussian.axes, leading=LEADING, ridge=RIDGE)


def area(white: Tensor, has: Tensor, gaussian: LatentGaussian) -> float:
    """The area under the ROC curve, cross-validated."""
    scores = torch.zeros(len(has))
    for fold in torch.randperm(len(has), generator=torch.Generator().manual_seed(0)).chunk(FOLDS):
        rest = torch.ones(len(has), dtype=torch.bool)
        rest[fold] = False
        scores[fold] = white[fold] @ _fit(white[rest], has[rest], gaussian).unit(gaussian.axes)
    return float((scores[has][:, None] > scores[~has]).float().mean())


def draw_sheets(
    generator: Generator, w: Tensor, folder: Path, side: int = 160, columns: int = 8, rows: int = 6
) -> None:
    """Samples in reading order, `columns * rows` a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(w.split(columns * rows)):
        sheet = torch.ones(3, rows * side, columns * side)
        for place, each in enumerate(part):
            with torch.no_grad():
                image = generator.synthesis(
                    each.expand(1, generator.num_ws, -1), noise=generator.synthesis.const_noise()
                )
            top, left = place // columns * side, place % columns * side
            sheet[:, top : top + side, left : left + side] = downsample(to_picture(image), size=(side, side))[0]
        save_image(sheet.clamp(0, 1), folder / f"glasses_{number}.png")


def search_portraits(generator: Generator, gaussian: LatentGaussian, lr: int = 32) -> None:
    """Searches the portraits with each choice; prints the identity distances and writes the sheet."""
    identity = Identity.load()
    rows: list[list[Tensor] | None] = []
    distances: dict[str, list[float]] = {choice: [] for choice in GLASSES_CHOICES}
    for target in faces(generator, 0):
        if target.name not in PORTRAITS_WITH:
            continue
        small, _ = degraded_and_clean(target, "clean", lr)
        true = identity.descriptor(target.truth)
        row = [F.interpolate(small, (SIDE, SIDE), mode="nearest")[0]]
        for choice, found in distances.items():
            (solution,) = search(generator, small, gaussian, replace(RECOMMENDED, glasses=choice))
            found.append(identity.distance(identity.descriptor(solution.image), true))
            row.append(resized(solution.image, SIDE))
        rows.append([*row, resized(target.truth, SIDE)])
        print(target.name, *(f"{choice} {found[-1]:.3f}" for choice, found in distances.items()), flush=True)
    print("mean", *(f"{choice} {sum(found) / len(found):.3f}" for choice, found in distances.items()))
    write_sheet(SHEET, rows, GLASSES_CHOICES, SIDE)


def write(attribute: Attribute, generator: Generator) -> None:
    """Into the shipped fit, with its other tensors as they are."""
    path = catalogue.shipped_fit(generator.content_hash)
    assert path is not None
    fit, metadata = LatentGaussian.load(path), read_checkpoint(path).metadata
    LatentGaussian(fit.mean, fit.std, fit.covariance, glasses=attribute).save(path, dict(metadata))
    print(path)


if __name__ == "__main__":
    main()

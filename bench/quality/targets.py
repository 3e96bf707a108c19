"""The targets of the table: faces with known ground truth, downscaled and degraded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pulse_core.degradations import Degradation, parse_degradation
from pulse_core.degradations.bicubic import downsample
from pulse_core.degradations.mask import Mask
from pulse_core.faces.alignment import align
from pulse_core.faces.finding import FindSettings, find_faces
from pulse_core.generators import Generator
from pulse_core.latents.sampling import sample
from pulse_core.pictures.images import read_image

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PORTRAITS = Path(__file__).resolve().parents[1] / "photographs"
FIRST_SEED = 900_000  # of the generated faces; no fit or encoder was trained with these seeds
TRUNCATION = 0.8
PHOTOGRAPHS = {"Collins": "eileen_collins.jpg", "Hopper": "grace_hopper.jpg"}

# Settings may be tuned on the first twelve portraits, never on the held-out ones.
HELD_OUT = ("p13", "p14", "p15", "p16")
PORTRAIT, HELD_OUT_PORTRAIT, PHOTOGRAPH, GENERATED = KINDS = (
    "portrait",
    "portrait kept apart",
    "photograph",
    "generated",
)

# In pixels of the low-resolution picture. PULSE's motion blur of 100 in 1024 pixels is 3.1 here.
INPUT_DEGRADATIONS = {
    "noise 25": "noise(0.098)",
    "noise 50": "noise(0.196)",
    "motion blur": "motion(3.1, 30)",
    "salt and pepper": "salt_and_pepper(0.05)",
    "jpeg 10": "jpeg(10)",
    "mask": "",
}


@dataclass(frozen=True)
class Target:
    """truth: [3, H, W] in 0..1. kind: one of KINDS. side: the size in its file, in pixels."""

    name: str
    kind: str
    truth: Tensor
    side: int


def faces(generator: Generator, generated: int) -> Iterator[Target]:
    """The portraits, the aligned photographs, and `generated` faces from FIRST_SEED on."""
    for path in sorted(PORTRAITS.glob("p*.jpg")):
        picture = read_image(path)
        kind = HELD_OUT_PORTRAIT if path.stem in HELD_OUT else PORTRAIT
        yield Target(path.stem, kind, picture, picture.shape[-1])
    for name, file in PHOTOGRAPHS.items():
        picture = read_image(SAMPLES / file)
        found = find_faces([picture], FindSettings(max_faces=1))
        (aligned,) = align([picture], found, generator.size[1])
        side = min(generator.size[1], round(next(iter(found)).side))
        yield Target(name, PHOTOGRAPH, aligned[:3], side)
    seeds = range(FIRST_SEED, FIRST_SEED + generated)
    for number, (image, _) in enumerate(sample(generator, seeds, TRUNCATION), 1):
        yield Target(f"face {number}", GENERATED, image, image.shape[-1])


def degradation(name: str, lr: int) -> Degradation | None:
    """The degradation of this name in INPUT_DEGRADATIONS; None for "clean"."""
    if name == "clean":
        return None
    if name == "mask":
        visible = torch.ones(lr, lr)
        visible[lr // 2 :, lr // 2 :] = 0  # a quarter, with a cheek and half of the mouth
        return Mask(visible)
    return parse_degradation(INPUT_DEGRADATIONS[name])


def degraded_and_clean(target: Target, spoiling: str, lr: int) -> tuple[Tensor, Tensor]:
    """The input of the search and the clean low-resolution picture, [1, 3, lr, lr] each, rounded to 8 bits."""
    clean = _rounded(downsample(target.truth[None], size=(lr, lr)))
    operator = degradation(spoiling, lr)
    if operator is None:
        return clean, clean
    return _rounded(operator.apply(clean, torch.Generator().manual_seed(lr))), clean


def _rounded(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round() / 255

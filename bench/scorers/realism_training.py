"""Trains the judge of `realism.py`: pictures to learn from (kept in out/realism), the training, and what it reaches."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from pulse_core.cli.memory import keep_freed_memory
from pulse_core.fetching.catalogue import DEFAULT_GENERATOR
from pulse_core.files import whole_file
from pulse_core.pipeline import load_with_fit

from .realism import PATCH, SCALES, WEIGHTS, Judge, auc, features, logits, scaled, shapes
from .spoiling import OF_PICTURES, Random, chance, family, pick

CACHE = Path(__file__).resolve().parents[2] / "out" / "realism"
FIRST_SEED = 800_000  # of the draws; no target and no fit has these
PATCHES = (14, 8, 4)  # of a picture at each scale
HELD_OUT = 0.2  # of the families, for the figures that are told
NATURAL, PAINTED = 20, 13  # patches of a batch; as many again are not natural
RATE, DECAY = 2e-3, 0.05


def collect(count: int) -> None:
    """Draws, spoils and cuts up the families that the folder does not have yet."""
    missing = [seed for seed in range(FIRST_SEED, FIRST_SEED + count) if not _file(seed).is_file()]
    if not missing:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    generator, fit = load_with_fit(DEFAULT_GENERATOR)
    for seed in tqdm(missing, desc="pictures"):
        natural, spoiled = family(generator, fit, seed)
        random = torch.Generator().manual_seed(seed)
        kept = {}
        for name, images in (("natural", natural), ("spoiled", spoiled)):
            for number in range(len(SCALES)):
                kept[f"{name}.{number}"] = torch.stack([cut(image, number, random) for image in images])
        with whole_file(_file(seed)) as file:
            save_file(kept, file)


def cut(image: Tensor, number: int, random: Random) -> Tensor:
    """Patches of a picture [3, H, W] in 0..1 at one scale, anywhere: [PATCHES[number], 3, PATCH, PATCH], 8 bits."""
    small = (scaled(image, number) * 255).round().to(torch.uint8)
    corners = [[pick(random, side - PATCH + 1) for side in small.shape[1:]] for _ in range(PATCHES[number])]
    return torch.stack([small[:, y : y + PATCH, x : x + PATCH] for y, x in corners])


def _file(seed: int) -> Path:
    return CACHE / f"{seed}.safetensors"


class Patches:
    """The patches of some families, by scale.

    pixels: [N, 3, PATCH, PATCH], 8 bits. kind: [N], 0 natural, 1 spoiled before and 2 after it was rendered.
    picture: [N], which picture it is from.
    """

    def __init__(self, seeds: list[int]):
        self.pixels: list[Tensor] = []
        self.kind: list[Tensor] = []
        self.picture: list[Tensor] = []
        read = [load_file(_file(seed)) for seed in seeds]
        for number in range(len(SCALES)):
            parts = [each[f"{name}.{number}"] for each in read for name in ("natural", "spoiled")]
            self.pixels.append(torch.cat([part.flatten(0, 1) for part in parts]))
            pictures = torch.arange(3 * len(read)).repeat_interleave(PATCHES[number])
            self.picture.append(pictures)
            self.kind.append(pictures % 3)

    def batch(self, number: int, random: Random) -> tuple[Tensor, Tensor]:
        """Natural patches, most of them also spoiled on the spot, and patches of spoiled latents: [B, 3, PATCH, PATCH]
        in 0..1, and which are natural.

        That the same patch is there with and without a fault makes the fault what is learned.
        """
        natural = self._some(number, 0, NATURAL, random)
        painted = [
            OF_PICTURES[pick(random, len(OF_PICTURES))](patch, random, SCALES[number]) for patch in natural[:PAINTED]
        ]
        both = torch.cat([natural, torch.stack(painted), self._some(number, 1, NATURAL - PAINTED, random)])
        light = 1 + 0.2 * (torch.rand(len(both), 3, 1, 1, generator=random) - 0.5)
        return (both * light).clamp(0, 1), torch.arange(len(both)).lt(NATURAL).float()

    def _some(self, number: int, kind: int, count: int, random: Random) -> Tensor:
        rows = (self.kind[number] == kind).nonzero()[:, 0]
        pixels = self.pixels[number][rows[torch.randint(len(rows), (count,), generator=random)]].float() / 255
        return pixels.flip(3) if chance(random, 0.5) else pixels


def beginning(random: Random) -> dict[str, Tensor]:
    """Weights to start from (He et al. 2015)."""
    weights = {}
    for name, shape in shapes().items():
        fan_in = torch.Size(shape[1:]).numel()
        weights[name] = torch.randn(shape, generator=random) * (2 / fan_in) ** 0.5 * name.endswith("weight")
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def train(patches: Patches, steps: int, seed: int = 0) -> dict[str, Tensor]:
    """AdamW with one rise and a cosine fall; each step sees one batch of each scale in turn."""
    random = torch.Generator().manual_seed(seed)
    weights = beginning(random)
    optimizer = torch.optim.AdamW(weights.values(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    bar = tqdm(range(steps), desc="training")
    mean = 0.7
    for step in bar:
        number = (0, 1, 0, 2, 0, 1)[step % 6]  # most patches are of the full size
        pixels, natural = patches.batch(number, random)
        guess = logits(weights, features(weights, pixels, number))
        loss = F.binary_cross_entropy_with_logits(guess, 0.9 * natural + 0.05)  # some patches show no fault
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean += 0.02 * (float(loss.detach()) - mean)
        bar.set_postfix(loss=f"{mean:.3f}")
    return {name: weight.detach().half() for name, weight in weights.items()}


@torch.no_grad()
def reached(weights: Mapping[str, Tensor], patches: Patches) -> dict[str, float]:
    """The AUC with which single patches of each scale, and whole pictures, are told."""
    weights, figures = Judge(weights).weights, {}
    pictures, truth = [], torch.zeros(0)
    for number, scale in enumerate(SCALES):
        natural, picture = patches.kind[number].eq(0).float(), patches.picture[number]
        parts = patches.pixels[number].split(64)
        score = torch.cat([logits(weights, features(weights, part.float() / 255, number)) for part in parts]).sigmoid()
        figures[f"patches at 1/{scale}"] = auc(score[natural == 1], score[natural == 0])
        count = int(picture.max()) + 1
        mean = torch.stack([score[picture == row].mean() for row in range(count)])
        truth = torch.stack([natural[picture == row][0] for row in range(count)])
        pictures.append(mean)
    whole = torch.stack(pictures).mean(0)
    return figures | {"pictures": auc(whole[truth == 1], whole[truth == 0])}


def main() -> None:
    """Makes what is missing, trains, and writes the weights."""
    parser = argparse.ArgumentParser(prog="python -m bench.scorers.realism", description=__doc__)
    parser.add_argument("--families", type=int, default=160, help="natural draws, each with two spoiled pictures")
    parser.add_argument("--steps", type=int, default=1600, help="of the training")
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    keep_freed_memory()
    collect(args.families)
    seeds = list(range(FIRST_SEED, FIRST_SEED + args.families))
    held = round(HELD_OUT * len(seeds))
    started = time.perf_counter()
    weights = train(Patches(seeds[:-held]), args.steps)
    print(f"trained in {time.perf_counter() - started:.0f} s")
    for what, figure in reached(weights, Patches(seeds[-held:])).items():
        print(f"AUC of {what}: {figure:.3f}")
    with whole_file(args.output) as file:
        save_file(weights, file, {"families": str(args.families), "steps": str(args.steps)})

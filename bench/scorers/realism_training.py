"""Trains the classifier of `realism.py` on pictures that are cached in out/realism, and prints its AUC."""

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
from pulse_core.files import whole_file
from pulse_core.loading.catalogue import DEFAULT_GENERATOR
from pulse_core.pipeline import load_with_fit

from .corruptions import PIXEL_CORRUPTIONS, Random, chance, pick, pictures_of_seed
from .realism import PATCH, SCALES, WEIGHTS, Classifier, auc, features, logits, scaled, shapes

CACHE = Path(__file__).resolve().parents[2] / "out" / "realism"
FIRST_SEED = 800_000  # of the samples; no target and no fit uses these seeds
PATCHES = (14, 8, 4)  # of a picture at each scale
HELD_OUT = 0.2  # share of the seeds, for validation
NATURAL, CORRUPTED = 20, 13  # natural patches of a batch, and how many of them are corrupted for its other half
RATE, DECAY = 2e-3, 0.05
_GROUPS = ("natural", "spoiled")  # names in the cached files; "spoiled" are the corrupted ones


def collect(count: int) -> None:
    """Samples pictures, corrupts them, and caches patches of them, for the seeds that the folder does not have."""
    missing = [seed for seed in range(FIRST_SEED, FIRST_SEED + count) if not _file(seed).is_file()]
    if not missing:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    generator, fit = load_with_fit(DEFAULT_GENERATOR)
    for seed in tqdm(missing, desc="pictures"):
        groups = zip(_GROUPS, pictures_of_seed(generator, fit, seed), strict=True)
        random = torch.Generator().manual_seed(seed)
        patches = {}
        for name, images in groups:
            for number in range(len(SCALES)):
                patches[f"{name}.{number}"] = torch.stack([cut(image, number, random) for image in images])
        with whole_file(_file(seed)) as file:
            save_file(patches, file)


def cut(image: Tensor, number: int, random: Random) -> Tensor:
    """Random patches of a picture [3, H, W] in 0..1 at one scale: [PATCHES[number], 3, PATCH, PATCH], uint8."""
    small = (scaled(image, number) * 255).round().to(torch.uint8)
    corners = [[pick(random, side - PATCH + 1) for side in small.shape[1:]] for _ in range(PATCHES[number])]
    return torch.stack([small[:, y : y + PATCH, x : x + PATCH] for y, x in corners])


def _file(seed: int) -> Path:
    return CACHE / f"{seed}.safetensors"


class Patches:
    """The cached patches of some seeds, by scale.

    pixels: [N, 3, PATCH, PATCH], uint8. kind: [N], 0 natural, 1 with corrupted latents, 2 with corrupted pixels.
    picture: [N], the number of the picture.
    """

    def __init__(self, seeds: list[int]):
        self.pixels: list[Tensor] = []
        self.kind: list[Tensor] = []
        self.picture: list[Tensor] = []
        read = [load_file(_file(seed)) for seed in seeds]
        for number in range(len(SCALES)):
            parts = [each[f"{name}.{number}"] for each in read for name in _GROUPS]
            self.pixels.append(torch.cat([part.flatten(0, 1) for part in parts]))
            pictures = torch.arange(3 * len(read)).repeat_interleave(PATCHES[number])
            self.picture.append(pictures)
            self.kind.append(pictures % 3)

    def batch(self, number: int, random: Random) -> tuple[Tensor, Tensor]:
        """Patches [B, 3, PATCH, PATCH] in 0..1, and 1 for natural ones: [B].

        Half of them are natural. The others are corrupted copies of most of these, and patches with corrupted latents.
        As a patch is there with and without its corruption, the network learns to see the corruption.
        """
        natural = self._some(number, 0, NATURAL, random)
        corrupted = [
            PIXEL_CORRUPTIONS[pick(random, len(PIXEL_CORRUPTIONS))](patch, random, SCALES[number])
            for patch in natural[:CORRUPTED]
        ]
        both = torch.cat([natural, torch.stack(corrupted), self._some(number, 1, NATURAL - CORRUPTED, random)])
        light = 1 + 0.2 * (torch.rand(len(both), 3, 1, 1, generator=random) - 0.5)
        return (both * light).clamp(0, 1), torch.arange(len(both)).lt(NATURAL).float()

    def _some(self, number: int, kind: int, count: int, random: Random) -> Tensor:
        rows = (self.kind[number] == kind).nonzero()[:, 0]
        pixels = self.pixels[number][rows[torch.randint(len(rows), (count,), generator=random)]].float() / 255
        return pixels.flip(3) if chance(random, 0.5) else pixels


def initial_weights(random: Random) -> dict[str, Tensor]:
    """Random weights (He et al. 2015)."""
    weights = {}
    for name, shape in shapes().items():
        fan_in = torch.Size(shape[1:]).numel()
        weights[name] = torch.randn(shape, generator=random) * (2 / fan_in) ** 0.5 * name.endswith("weight")
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def train(patches: Patches, steps: int, seed: int = 0) -> dict[str, Tensor]:
    """AdamW with a one-cycle schedule; each step uses a batch of one scale."""
    random = torch.Generator().manual_seed(seed)
    weights = initial_weights(random)
    optimizer = torch.optim.AdamW(weights.values(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    bar = tqdm(range(steps), desc="training")
    mean = 0.7
    for step in bar:
        number = (0, 1, 0, 2, 0, 1)[step % 6]  # half of the batches are of full size
        pixels, natural = patches.batch(number, random)
        predicted = logits(weights, features(weights, pixels, number))
        labels = 0.9 * natural + 0.05  # smoothed, as some corruptions are invisible
        loss = F.binary_cross_entropy_with_logits(predicted, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean += 0.02 * (float(loss.detach()) - mean)
        bar.set_postfix(loss=f"{mean:.3f}")
    return {name: weight.detach().half() for name, weight in weights.items()}


@torch.no_grad()
def validation_auc(weights: Mapping[str, Tensor], patches: Patches) -> dict[str, float]:
    """The AUC of patches of each scale, and of pictures."""
    weights, figures = Classifier(weights).weights, {}
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
    means = torch.stack(pictures).mean(0)
    return figures | {"pictures": auc(means[truth == 1], means[truth == 0])}


def main() -> None:
    """Adds the pictures that are missing, trains, and writes the weights."""
    parser = argparse.ArgumentParser(prog="python -m bench.scorers.realism", description=__doc__)
    parser.add_argument("--seeds", type=int, default=160, help="natural samples, each with two corrupted pictures")
    parser.add_argument("--steps", type=int, default=1600, help="training steps")
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    keep_freed_memory()
    collect(args.seeds)
    seeds = list(range(FIRST_SEED, FIRST_SEED + args.seeds))
    validation = round(HELD_OUT * len(seeds))
    started = time.perf_counter()
    weights = train(Patches(seeds[:-validation]), args.steps)
    print(f"trained in {time.perf_counter() - started:.0f} s")
    for name, value in validation_auc(weights, Patches(seeds[-validation:])).items():
        print(f"AUC of {name}: {value:.3f}")
    with whole_file(args.output) as file:
        save_file(weights, file, {"seeds": str(args.seeds), "steps": str(args.steps)})

"""Realism: the probability that a picture is a natural sample of the generator, without the artefacts of a bad search.

A small convolutional network classifies patches of 128 pixels at full, half and quarter size. Searches do not use it.
It was trained to separate natural samples of the default generator from corrupted ones (`corruptions.py`).
`python -m bench.scorers.realism` trains it again and prints its accuracy.

Scores of the shipped weights, which were trained without photographs: held-out samples have a mean of 0.63, the sixteen
portraits of `bench/photographs` of 0.58. The AUC of held-out samples against corrupted ones is 0.83 (many are only
slightly corrupted). Of portraits against the same portraits, corrupted, it is 1.00 for waves, coarse grain and JPEG
blocks, 0.96 for blur, 0.92 for rings and 0.86 for blotches; each corruption lowers the score of each portrait.
Compare scores of the same targets only: the mean of a row with the mean of its truths.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import ImageError
from pulse_core.pictures.images import check_colours

WEIGHTS = Path(__file__).with_name("realism.safetensors")
PATCH = 128  # pixels a side
SCALES = (1, 2, 4)  # factors by which the picture is downscaled before patches are taken
FEATURES = 32  # of a patch, the input of the last layer

# name: (channels in, channels out, kernel, stride). The first has the channels of `_input`.
CONVS = {
    "conv0": (4 + len(SCALES), 16, 5, 2),
    "conv1": (16, 32, 3, 2),
    "conv2": (32, 48, 3, 2),
    "conv3": (48, 48, 3, 1),
    "conv4": (48, 96, 3, 2),
    "conv5": (96, 96, 3, 1),
}
_FINE, _LEAST = 12.0, 1e-3  # gain of the finest details; added to variances before the logarithm


class Classifier:
    """The network, on the CPU.

    Args:
        weights: by the names in `shapes`.
    """

    def __init__(self, weights: Mapping[str, Tensor]):
        self.weights = {name: tensor.float() for name, tensor in weights.items()}

    @classmethod
    def load(cls, path: Path | str = WEIGHTS) -> Classifier:
        """Reads the shipped weights, or others that the training wrote."""
        return cls(load_file(path))

    @torch.no_grad()
    def evaluate(self, image: Tensor) -> tuple[float, Tensor]:
        """The score and the features of a picture [3, S, S] in 0..1 that is aligned as FFHQ.

        Returns: the probability that it is natural, in 0..1, averaged over patches, then over scales; and its features
        [FEATURES], averaged in the same way, for `separability`.

        Raises:
            ImageError: another shape, no colours, or fewer than 512 pixels a side.
        """
        if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < PATCH * SCALES[-1]:
            raise ImageError(
                f"The picture has the shape {list(image.shape)}.",
                f"[3, H, W] with sides of at least {PATCH * SCALES[-1]}.",
                "score a larger picture.",
            )
        check_colours(image)
        results = []
        for number in range(len(SCALES)):
            found = features(self.weights, tiles(scaled(image, number)), number)
            results.append((logits(self.weights, found).sigmoid().mean(), found.mean(0)))
        scores, means = zip(*results, strict=True)
        return float(torch.stack(scores).mean()), torch.stack(means).mean(0)

    def score(self, image: Tensor) -> float:
        """The probability that a picture is natural, see `evaluate`."""
        return self.evaluate(image)[0]


def scaled(image: Tensor, number: int) -> Tensor:
    """The picture [3, H, W] at the scale SCALES[number], in 0..1."""
    if SCALES[number] == 1:
        return image
    height, width = (side // SCALES[number] for side in image.shape[1:])
    return downsample(image, size=(height, width)).clamp(0, 1)


def tiles(image: Tensor) -> Tensor:
    """[3, H, W] -> [N, 3, PATCH, PATCH]: patches that cover the picture, evenly spaced."""
    rows, columns = (_starts(side) for side in image.shape[1:])
    return torch.stack([image[:, y : y + PATCH, x : x + PATCH] for y in rows for x in columns])


def _starts(side: int) -> list[int]:
    count = max(2, -(-side // PATCH)) if side > PATCH else 1
    return [round(i * (side - PATCH) / max(1, count - 1)) for i in range(count)]


def shapes() -> dict[str, tuple[int, ...]]:
    """The shapes of all weights, by name."""
    named: dict[str, tuple[int, ...]] = {}
    for name, (into, out, kernel, _) in CONVS.items():
        named |= {f"{name}.weight": (out, into, kernel, kernel), f"{name}.bias": (out,)}
    pooled = 2 * sum(out for _, out, _, _ in CONVS.values())
    named |= {"features.weight": (FEATURES, pooled), "features.bias": (FEATURES,)}
    return named | {"natural.weight": (1, FEATURES), "natural.bias": (1,)}


def features(weights: Mapping[str, Tensor], patches: Tensor, number: int) -> Tensor:
    """Patches [N, 3, PATCH, PATCH] in 0..1 of the scale SCALES[number] -> [N, FEATURES]."""
    x, pooled = _input(patches, number), []
    for name, (_, _, kernel, stride) in CONVS.items():
        inner = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, kernel // 2)
        x = F.silu(inner + x if inner.shape == x.shape else inner)
        # mean and variance of the features at each depth: normalisation would remove the strength of details
        pooled += [x.mean((2, 3)), (x.flatten(2).var(2) + _LEAST).log() / 4]
    return F.silu(F.linear(torch.cat(pooled, 1), weights["features.weight"], weights["features.bias"]))


def _input(patches: Tensor, number: int) -> Tensor:
    """[N, 4 + scales, PATCH, PATCH]: brightness, amplified finest details of each channel, and the scale, one-hot."""
    smooth = F.avg_pool2d(F.pad(patches, (2, 2, 2, 2), "replicate"), 5, 1)
    light = patches.mean(1, keepdim=True)
    which = patches.new_zeros(1, len(SCALES), 1, 1)
    which[0, number] = 1
    planes = which.expand(len(patches), -1, *patches.shape[2:])
    return torch.cat([3 * (light - light.mean((2, 3), keepdim=True)), _FINE * (patches - smooth), planes], 1)


def logits(weights: Mapping[str, Tensor], found: Tensor) -> Tensor:
    """Features [N, FEATURES] -> [N], above 0 where natural is likelier."""
    return F.linear(found, weights["natural.weight"], weights["natural.bias"])[:, 0]


@lru_cache(maxsize=1)
def classifier() -> Classifier:
    """The classifier with the shipped weights, read once."""
    return Classifier.load()


def auc(better: Tensor, worse: Tensor) -> float:
    """The share of pairs in which a score [n] of `better` is above one [m] of `worse`; ties count half."""
    difference = better[:, None] - worse[None]
    return float(((difference > 0).float() + (difference == 0).float() / 2).mean())


def separability(natural: Tensor, results: Tensor, ridge: float = 1.0) -> float:
    """The AUC of a linear classifier between two groups of features; 0.5: inseparable, 1: separable.

    Leave-pair-out cross-validation (Airola et al. 2009): to compare picture i of one group with picture j of the other,
    the classifier is fitted without targets i and j. The mean over all i and j estimates the AUC for new pictures. The
    classifier is Fisher's linear discriminant, with a ridge on the standardised covariance, as the groups are small.

    Args:
        natural, results: [n, features] each, n of 4 or more; row i of both is of the same target.
    """
    count = len(natural)
    both = torch.cat([natural, results]).double()
    both = (both - both.mean(0)) / both.std(0).clamp(min=1e-9)
    a, b = both[:count], both[count:]
    right = 0.0
    for i in range(count):
        for j in range(count):
            others = [row for row in range(count) if row not in (i, j)]
            inside = torch.cat([a[others] - a[others].mean(0), b[others] - b[others].mean(0)])
            covariance = inside.mT @ inside / len(inside) + ridge * torch.eye(both.shape[1]).to(both)
            direction = torch.linalg.solve(covariance, a[others].mean(0) - b[others].mean(0))
            difference = float((a[i] - b[j]) @ direction)
            right += 0.5 if difference == 0 else float(difference > 0)
    return right / count**2


if __name__ == "__main__":
    from .realism_training import main

    main()

"""Realism: how much of a picture looks like what the generator draws, and not like what a bad search leaves.

A small convolutional network that no search sees looks at patches of 128 pixels, at the picture's size, half and a
quarter of it. It has learned to tell natural draws of the default generator from pictures that were spoiled on
purpose (`spoiling.py`); `python -m bench.scorers.realism` trains it again and tells what it reaches.

Measured with the shipped weights, of which no photograph has been seen: held-out draws score 0.63 in the mean, the
sixteen portraits of `bench/photographs` 0.58. Held-out draws are told from spoiled pictures with an AUC of 0.83 (many
of those only a little); the portraits from themselves with a fault laid over them with 1.00 (waves), 1.00
(mottle), 1.00 (blocks), 0.96 (too smooth), 0.92 (rings), 0.86 (blotches), and each of them scores below itself without.
So compare pictures of the same targets: a row's mean with its truths' mean; a score alone says little.
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
SCALES = (1, 2, 4)  # by which the picture is made smaller before it is cut up
FEATURES = 32  # numbers of a patch that the last layer decides from

# name: (channels in, channels out, kernel, stride). The first sees what `_input` makes of a patch.
CONVS = {
    "conv0": (4 + len(SCALES), 16, 5, 2),
    "conv1": (16, 32, 3, 2),
    "conv2": (32, 48, 3, 2),
    "conv3": (48, 48, 3, 1),
    "conv4": (48, 96, 3, 2),
    "conv5": (96, 96, 3, 1),
}
_FINE, _LEAST = 12.0, 1e-3  # what the finest details are enlarged by; variance that is as good as none


class Judge:
    """The network, on the CPU.

    Args:
        weights: by the names in `shapes`.
    """

    def __init__(self, weights: Mapping[str, Tensor]):
        self.weights = {name: tensor.float() for name, tensor in weights.items()}

    @classmethod
    def load(cls, path: Path | str = WEIGHTS) -> Judge:
        """The shipped one, or another that the training wrote."""
        return cls(load_file(path))

    @torch.no_grad()
    def look(self, image: Tensor) -> tuple[float, Tensor]:
        """What a picture [3, S, S] in 0..1, aligned as FFHQ, is worth.

        Returns: the probability that it is natural, in 0..1: the mean over the patches of each scale, and over the
        scales; and its features [FEATURES], averaged in the same way, to compare groups of pictures by.

        Raises:
            ImageError: another shape, no colours, or fewer than 512 pixels a side.
        """
        if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < PATCH * SCALES[-1]:
            raise ImageError(
                f"The picture has the shape {list(image.shape)}.",
                f"[3, H, W] with sides of at least {PATCH * SCALES[-1]}.",
                "judge a larger picture.",
            )
        check_colours(image)
        seen = []
        for number in range(len(SCALES)):
            found = features(self.weights, tiles(scaled(image, number)), number)
            seen.append((logits(self.weights, found).sigmoid().mean(), found.mean(0)))
        scores, means = zip(*seen, strict=True)
        return float(torch.stack(scores).mean()), torch.stack(means).mean(0)

    def score(self, image: Tensor) -> float:
        """The first of what `look` gives."""
        return self.look(image)[0]


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
    """Of all weights, by name."""
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
        # how strong details are and how they vary, at each depth: no normalisation may hide it
        pooled += [x.mean((2, 3)), (x.flatten(2).var(2) + _LEAST).log() / 4]
    return F.silu(F.linear(torch.cat(pooled, 1), weights["features.weight"], weights["features.bias"]))


def _input(patches: Tensor, number: int) -> Tensor:
    """[N, 4 + scales, PATCH, PATCH]: light and shade, the finest details of each colour, enlarged, and the scale."""
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
def judge() -> Judge:
    """The shipped one, read once."""
    return Judge.load()


def auc(better: Tensor, worse: Tensor) -> float:
    """The share of pairs in which a score [n] of `better` is above one [m] of `worse`; ties count half."""
    apart = better[:, None] - worse[None]
    return float(((apart > 0).float() + (apart == 0).float() / 2).mean())


def told_apart(natural: Tensor, results: Tensor, ridge: float = 1.0) -> float:
    """How well a linear classifier on the features tells two groups apart; 0.5: not at all, 1: always.

    Cross-validated by leaving pairs out (Airola et al. 2009): to compare picture i of one group with picture j of the
    other, it is fitted without i and j of either group, so nobody is seen in both. The mean over all i and j is an
    estimate of the AUC for pictures that the classifier has not seen. The classifier is Fisher's, with the ridge
    added to the standardised covariance: the groups are small.

    Args:
        natural, results: [n, features] each, n of 4 or more; row i of both belongs to the same target.
    """
    count = len(natural)
    both = torch.cat([natural, results]).double()
    both = (both - both.mean(0)) / both.std(0).clamp(min=1e-9)
    a, b = both[:count], both[count:]
    right = 0.0
    for i in range(count):
        for j in range(count):
            kept = [row for row in range(count) if row not in (i, j)]
            inside = torch.cat([a[kept] - a[kept].mean(0), b[kept] - b[kept].mean(0)])
            covariance = inside.mT @ inside / len(inside) + ridge * torch.eye(both.shape[1]).to(both)
            direction = torch.linalg.solve(covariance, a[kept].mean(0) - b[kept].mean(0))
            apart = float((a[i] - b[j]) @ direction)
            right += 0.5 if apart == 0 else float(apart > 0)
    return right / count**2


if __name__ == "__main__":
    from .realism_training import main

    main()

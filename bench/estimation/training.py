"""Trains the networks of `pulse_core.faces.estimation` on degraded faces: 15 minutes on one core."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from bench.quality.targets import HELD_OUT, PORTRAITS
from pulse_core.degradations.bicubic import downsample
from pulse_core.faces.estimation import HALVINGS, MIN_BLUR, OUTPUTS, WEIGHTS, encode_noise, network
from pulse_core.faces.features import NUM_FEATURES, features
from pulse_core.files import whole_file
from pulse_core.latents.sampling import sample
from pulse_core.pictures.images import read_image
from pulse_core.pipeline import load_with_fit

from .cases import Case, degrade

FIRST_SEED, TRUNCATION, SIDE = 800_000, 0.8, 768  # of the generated faces; SIDE: their size in pixels
HIDDEN, NETWORKS = 96, 4
_SIDES, _WARPED = (16, 560), 0.5
_WITHOUT_FACE = 0.06  # share of pictures without a face


def generated(count: int) -> list[Tensor]:
    """Samples of the default generator, [3, SIDE, SIDE] uint8 each."""
    generator, _ = load_with_fit("ffhq-mobile")
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    return [to_bytes(downsample(image, size=(SIDE, SIDE))) for image, _ in sample(generator, seeds, TRUNCATION)]


def to_bytes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round().byte()


def portraits(*, held_out: bool) -> dict[str, Tensor]:
    """[3, 768, 768] in 0..1 by name: the held-out portraits, or the others."""
    paths = sorted(PORTRAITS.glob("p*.jpg"))
    return {path.stem: read_image(path) for path in paths if (path.stem in HELD_OUT) == held_out}


def augment(face: Tensor, rng: random.Random) -> Tensor:
    """A face [3, H, H] in 0..1, randomly mirrored and cropped."""
    face = face.flip(-1) if rng.random() < 0.5 else face
    if rng.random() < 0.5:
        side = round(face.shape[-1] * rng.uniform(0.75, 1))
        top, left = (rng.randint(0, face.shape[-1] - side) for _ in range(2))
        face = face[:, top : top + side, left : left + side]
    return face.float() / 255


def relight(rng: random.Random) -> Callable[[Tensor], Tensor]:
    """A random change of saturation, brightness, gamma and contrast."""
    saturation, gamma, shift = rng.uniform(0.4, 1.2), math.exp(rng.gauss(0, 0.3)), rng.uniform(-0.1, 0.1)
    contrast, middle = rng.uniform(0.45, 1.25), rng.uniform(0.3, 0.6)

    def change(face: Tensor) -> Tensor:
        face = torch.lerp(face.mean(0, keepdim=True), face, saturation).clamp(0, 1) ** gamma
        return ((face - middle) * contrast + middle + shift).clamp(0, 1)

    return change


def without_face(seed: int) -> Tensor:
    """A picture [3, S, S] without a face: noise on a constant or a ramp."""
    rng, numbers = random.Random(seed), torch.Generator().manual_seed(seed)
    side = round(2 ** rng.uniform(4, 8.5))
    picture = torch.full((3, side, side), rng.uniform(0.1, 0.9))
    if rng.random() < 0.3:
        picture = picture + torch.linspace(-0.3, 0.3, side)
    small = side if rng.random() < 0.5 else max(8, round(side / 2 ** rng.uniform(0, 2)))
    noise = torch.randn(rng.choice([1, 3]), small, small, generator=numbers) * 10 ** rng.uniform(-2.5, -0.4)
    noise = F.interpolate(noise[None], (side, side), mode="bicubic")[0]
    return ((picture + noise).clamp(0, 1) * 255).round() / 255


def targets(case: Case | None) -> Tensor:
    """[4 + HALVINGS]: 1 for a face, log2 of size / side, log2 of blur / MIN_BLUR, encoded noise after each halving."""
    if case is None:
        return torch.zeros(4 + HALVINGS)
    side = case.picture.shape[-1]
    noises = [encode_noise(noise, halvings) for halvings, noise in enumerate(case.noise)]
    return torch.tensor(
        [1, math.log2(case.effective_size / side), math.log2(max(case.blur, MIN_BLUR) / MIN_BLUR), *noises]
    )


def pairs(faces: list[Tensor], seeds: Iterable[int]) -> tuple[Tensor, Tensor]:
    """Features [N, NUM_FEATURES] and targets [N, 4 + HALVINGS], one for each seed."""
    numbers, truths = [], []
    for seed in seeds:
        rng = random.Random(seed + 10**9)
        if rng.random() < _WITHOUT_FACE:
            numbers.append(features(without_face(seed)))
            truths.append(targets(None))
            continue
        face = augment(faces[rng.randrange(len(faces))], rng)
        light = relight(rng) if rng.random() < 0.7 else None
        case = degrade(face, seed, sides=_SIDES, warped=_WARPED, chance=rng.choice([0.3, 0.5, 0.5]), light=light)
        numbers.append(features(case.picture))
        truths.append(targets(case))
    return torch.stack(numbers), torch.stack(truths)


def loss(found: Tensor, true: Tensor) -> Tensor:
    """Laplace likelihood of size and blur, with learned scales; smooth L1 of the noises; cross-entropy of the face."""
    has_face = true[:, 0]
    is_face = F.binary_cross_entropy_with_logits(found[:, 5 + HALVINGS], has_face)
    size, spread = (found[:, 0] - true[:, 1]).abs(), found[:, 1].clamp(-5, 2)
    blur, blur_spread = (found[:, 2] - true[:, 2]).abs(), found[:, 3].clamp(-5, 2)
    noise = F.smooth_l1_loss(found[:, 4 : 5 + HALVINGS], true[:, 3:], reduction="none", beta=0.1)
    weight = noise.new_tensor([3.0] + [1.0] * HALVINGS)
    each = size / spread.exp() + spread + 0.5 * (blur / blur_spread.exp() + blur_spread) + 2 * (noise * weight).sum(1)
    return is_face + (each * has_face).sum() / has_face.sum().clamp(min=1)


def train(numbers: Tensor, true: Tensor, *, steps: int = 12_000, seed: int = 0) -> dict[str, Tensor]:
    """The weights by their names in `estimation.network`. Each of the NETWORKS has its own random numbers."""
    drawn = torch.Generator().manual_seed(seed)
    weights = {"mean": numbers.mean(0), "std": numbers.std(0).clamp(min=1e-3)}
    for name, into, out in (("hidden0", NUM_FEATURES, HIDDEN), ("hidden1", HIDDEN, HIDDEN), ("out", HIDDEN, OUTPUTS)):
        weights[f"{name}.weight"] = torch.randn(NETWORKS, into, out, generator=drawn) / into**0.5
        weights[f"{name}.bias"] = torch.zeros(NETWORKS, 1, out)
    learned = [tensor.requires_grad_() for name, tensor in weights.items() if "." in name]
    optimizer = torch.optim.AdamW(learned, lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(numbers), (NETWORKS, 256), generator=drawn)
        noisy = numbers[rows] + 0.03 * weights["std"] * torch.randn(NETWORKS, 256, NUM_FEATURES, generator=drawn)
        found = network(weights, noisy)
        error = loss(found.flatten(0, 1), true[rows].flatten(0, 1))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def write(weights: dict[str, Tensor], path: Path = WEIGHTS) -> None:
    with whole_file(path) as temporary:
        save_file({name: tensor.half() if "." in name else tensor for name, tensor in weights.items()}, temporary)


def main(faces: int = 160, cases: int = 13_500) -> None:
    """Samples faces, degrades them, trains, and writes the weights."""
    started = time.perf_counter()
    drawn = generated(faces)
    own = [to_bytes(portrait) for portrait in portraits(held_out=False).values()]
    print(f"{len(drawn)} faces drawn after {time.perf_counter() - started:.0f} s")
    known = drawn + own * max(1, len(drawn) // (2 * len(own)))  # a third are photographs
    numbers, true = pairs(known, range(cases))
    print(f"{cases} degraded after {time.perf_counter() - started:.0f} s")
    write(train(numbers, true))
    print(f"trained after {time.perf_counter() - started:.0f} s")

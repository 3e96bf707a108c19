"""Pairs -> an encoder.

It learns the Gaussian that each picture leaves of whitened w: the negative log-likelihood (Nix, Weigend 1994) is
smallest for the posterior's own means and variances. Minimised by AdamW (Loshchilov, Hutter 2019, arXiv 1711.05101).
Each step draws its random numbers from a seed of its own, so that a stop and a resume change nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ...checkpoints import read_checkpoint, safetensors_format
from ...errors import CheckpointError, SettingError
from .augmentation import augmented, rounded, scaled
from .network import Encoder, is_wide, to_canonical
from .pairs import FIRST_SEED, draw_pairs

if TYPE_CHECKING:
    from ...generators import Generator
    from ..gaussian import LatentGaussian

DEFAULT_PAIRS = 48_000
FEWEST = 100
_EPOCHS = 8
_FEWEST_STEPS = 100
_RATE, _LAST_RATE = 1.5e-3, 1e-5
_WARM_UP = 200  # steps, or a tenth of them
_DECAY = 0.05
_STEEPEST = 1.0  # the norm of a gradient
_HELD_OUT = (5, 1000)  # one of so many pairs judges, up to so many
_LOOKS = 4  # at each of them
_DOUBTS, _NEWTON_STEPS = 50, 20  # of their calibration
_BATCHES = (64, 16)  # of a wide encoder, and of a narrow one, for which few pairs must do
_KEEP_EVERY = 100  # steps: under a minute
_JUDGED_AT = (8, 16, 32, 64)  # pixels

log = logging.getLogger(__name__)


def fit_encoder(
    generator: Generator,
    gaussian: LatentGaussian,
    pairs: int = DEFAULT_PAIRS,
    *,
    class_index: int | None = None,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Encoder:
    """Draws pairs of latents and pictures, and trains an encoder with them.

    With the default pairs about an hour on two cores, minutes on a GPU.

    Args:
        gaussian: with its covariance, whose principal axes the encoder speaks of.
        pairs: 100 or more.
        cache: a folder that keeps pairs and training, so that a stopped one goes on; the caller clears it.
        on_progress: called with (done, pairs) while pairs are drawn, then with (done, steps) while it is trained; what
            it raises stops the fit.

    Raises:
        SettingError: too few pairs.
        CheckpointError: the generator has no mapping network.
    """
    if pairs < FEWEST:
        raise SettingError(f"{pairs} pairs were asked for.", f"{FEWEST} or more.", f"{DEFAULT_PAIRS} serve well.")
    gaussian = gaussian.map_tensors(lambda tensor: tensor.float().cpu())
    pictures, white = draw_pairs(
        generator, gaussian, pairs, class_index=class_index, folder=cache, on_progress=on_progress
    )
    device = next(generator.synthesis.parameters()).device
    return train(pictures, white, gaussian, device=device, cache=cache, on_progress=on_progress)


def train(
    pictures: Tensor,
    white: Tensor,
    gaussian: LatentGaussian,
    steps: int | None = None,
    *,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Encoder:
    """The second half of `fit_encoder`: pictures [N, 3, h, w] uint8 and whitened w [N, w_dim] -> an encoder.

    Args:
        steps: of 64 pictures each; None takes eight looks at each pair.
    """
    batch = _BATCHES[0] if is_wide(white.shape[1]) else _BATCHES[1]
    steps = steps or max(_FEWEST_STEPS, _EPOCHS * len(pictures) // batch)
    held = min(_HELD_OUT[1], len(pictures) // _HELD_OUT[0])
    weight = gaussian.axes[1].float().cpu()
    run = _Run.begin(pictures[held:], white[held:], weight / weight.mean(), (steps, batch), device, cache)
    with torch.inference_mode(False), torch.enable_grad():
        while run.step < steps:
            run.one()
            if cache is not None and run.step % _KEEP_EVERY == 0:
                run.keep(cache)
            if on_progress is not None:
                on_progress(run.step, steps)
    encoder = _corrected(run.encoder.map_tensors(lambda tensor: tensor.float().cpu()), pictures[:held], white[:held])
    # as a file keeps it, so that a cached encoder is the same
    encoder = encoder.map_tensors(lambda tensor: tensor.half().float())
    encoder.signs = gaussian.signs
    for side in _JUDGED_AT:
        judged = judge(encoder, pictures[:held], white[:held], weight, side)
        log.info("At %d pixels the encoder explains %.3f of the variance of W.", side, judged.explained)
    return encoder


@torch.no_grad()
def _corrected(encoder: Encoder, pictures: Tensor, white: Tensor) -> Encoder:
    """A copy without the excess of means and confidence that pairs which were held out show: little, for many pairs."""
    random, means, spreads = torch.Generator().manual_seed(FIRST_SEED - 1), [], []
    white = white.float().repeat(_LOOKS, 1)
    for part in pictures.repeat(_LOOKS, 1, 1, 1).split(100):
        mean, log_std = encoder(augmented(part.float() / 255, random))
        means.append(mean)
        spreads.append(log_std)
    mean, log_std = torch.cat(means), torch.cat(spreads)
    slope = ((mean * white).sum(0) / mean.square().sum(0).clamp(min=1e-9)).clamp(0, 1)
    return encoder.rescaled(slope, *_calibrated((white - slope * mean).square(), log_std, len(pictures)))


def _calibrated(error: Tensor, log_std: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(a, b), [w_dim] each, for which a * log_std + b is likeliest where the squared errors are these, [N, w_dim].

    Newton's method on the likelihood's logarithm, which is concave in both. As if `_DOUBTS` pairs, beside the `count`
    that there are, spoke for a = 1 and b = 0.
    """
    a, b, doubt = torch.ones(log_std.shape[1]), torch.zeros(log_std.shape[1]), _DOUBTS / count
    for _ in range(_NEWTON_STEPS):
        surprise = error * (-2 * (a * log_std + b)).exp()
        slope_a = ((1 - surprise) * log_std).mean(0) + doubt * (a - 1)
        slope_b = (1 - surprise).mean(0) + doubt * b
        aa = 2 * (surprise * log_std.square()).mean(0) + doubt
        ab = 2 * (surprise * log_std).mean(0)
        bb = 2 * surprise.mean(0) + doubt
        scale = 1 / (aa * bb - ab.square())
        a = a - ((bb * slope_a - ab * slope_b) * scale).clamp(-0.2, 0.2)
        b = b - ((aa * slope_b - ab * slope_a) * scale).clamp(-0.2, 0.2)
    return a, b


@dataclass
class _Run:
    """A training in progress.

    weight: [w_dim], what each axis counts: as far as the latents spread along it.
    """

    encoder: Encoder
    optimizer: torch.optim.AdamW
    pictures: Tensor
    white: Tensor
    weight: Tensor
    steps: int
    batch: int
    step: int = 0

    @staticmethod
    def begin(
        pictures: Tensor,
        white: Tensor,
        weight: Tensor,
        length: tuple[int, int],
        device: torch.device | str,
        cache: Path | None,
    ) -> _Run:
        """From its first step, or from where the cache has it. length: steps, and pictures of each."""
        size = (pictures.shape[-2], pictures.shape[-1])
        encoder = Encoder(white.shape[1], size).filled(torch.Generator().manual_seed(FIRST_SEED))
        encoder = encoder.to(device).requires_grad_(True)
        optimizer = torch.optim.AdamW(encoder.parameters(), _RATE, weight_decay=_DECAY)
        run = _Run(encoder, optimizer, pictures, white, weight.to(device), *length)
        if cache is not None:
            run._resume(cache)
        return run

    def one(self) -> None:
        """One step."""
        random = torch.Generator().manual_seed(FIRST_SEED + self.step)
        rows = torch.randint(len(self.pictures), (self.batch,), generator=random)
        pictures = augmented(self.pictures[rows].float() / 255, random).to(self.weight.device)
        for group in self.optimizer.param_groups:
            group["lr"] = _rate(self.step, self.steps)
        self.optimizer.zero_grad()
        with _halved(pictures.device):
            mean, log_std = self.encoder(pictures)
        error = (self.white[rows].to(mean) - mean) * (-log_std).exp()
        loss = ((error.square() / 2 + log_std) * self.weight).mean()
        loss.backward()
        clip_grad_norm_(self.encoder.parameters(), _STEEPEST)
        self.optimizer.step()
        self.step += 1

    def keep(self, cache: Path) -> None:
        """Writes where it is."""
        tensors = {f"weight.{name}": tensor.detach() for name, tensor in self.encoder.named_parameters()}
        for name, parameter in self.encoder.named_parameters():
            state = self.optimizer.state[parameter]
            tensors |= {f"first.{name}": state["exp_avg"], f"second.{name}": state["exp_avg_sq"]}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        at = torch.tensor([self.step, self.steps, len(self.pictures)])
        safetensors_format.write(cache / "training.safetensors", tensors | {"at": at})

    def _resume(self, cache: Path) -> None:
        """Goes on from what `keep` wrote, if that was of the same training."""
        try:
            tensors = read_checkpoint(cache / "training.safetensors").tensors
            step, steps, pairs = tensors["at"].read().tolist()
            if (steps, pairs) != (self.steps, len(self.pictures)):
                return
            for name, parameter in self.encoder.named_parameters():
                weight, first, second = (tensors[f"{kind}.{name}"].read() for kind in ("weight", "first", "second"))
                with torch.no_grad():
                    parameter.copy_(weight)
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": torch.empty_like(parameter).copy_(first),
                    "exp_avg_sq": torch.empty_like(parameter).copy_(second),
                }
        except (CheckpointError, KeyError):
            return  # there is none yet, or another version's
        self.step = step


def _rate(step: int, steps: int) -> float:
    """Up, then down in a straight line."""
    warm = min(_WARM_UP, steps // 10)
    return max(_LAST_RATE, _RATE * min((step + 1) / warm, (steps - step) / (steps - warm)))


def _halved(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the hardware has it: half the time, and nothing lost beside the gradients' own noise."""
    has_it = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() if device.type == "cpu" else device.type == "cuda"
    return torch.autocast(device.type, torch.bfloat16) if has_it else nullcontext()


@dataclass(frozen=True)
class Judgement:
    """How well an encoder guesses.

    explained: the share of the variance of W, before its last LeakyReLU. by_axis: [w_dim], of each axis.
    calibration: the mean square of (truth - mean) / std, weighed alike; 1 where it knows what it does not know.
    """

    explained: float
    by_axis: Tensor
    calibration: float


def judge(encoder: Encoder, pictures: Tensor, white: Tensor, spread: Tensor, side: int) -> Judgement:
    """Of pictures [N, 3, h, w] uint8 that it was not trained with, scaled down to `side` pixels, and their w.

    Args:
        spread: [w_dim], the standard deviations along the axes.
    """
    white, variance = white.float(), spread.square() / spread.square().sum()
    guesses = []
    for part in pictures.split(100):
        small = rounded(scaled(part.float() / 255, min(side, max(part.shape[-2:]))))
        guesses.append(encoder.posterior(to_canonical(small, encoder.size)))
    mean, std = (torch.cat(each) for each in zip(*guesses, strict=True))
    by_axis = 1 - (white - mean).square().mean(0) / white.square().mean(0)
    surprise = ((white - mean) / std).square().mean(0)
    return Judgement(float((by_axis * variance).sum()), by_axis, float((surprise * variance).sum()))

"""Trains an encoder on pairs of pictures and latents.

The loss is the negative log-likelihood of a Gaussian with one variance per axis (Nix, Weigend 1994), whose minimum is
the posterior's mean and variance. The optimiser is AdamW (Loshchilov, Hutter 2019, arXiv 1711.05101). Each step has a
seed of its own, so a resumed training gives the same result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ...checkpoints import read_checkpoint, safetensors_format
from ...errors import CheckpointError, SettingError
from ...generators import Generator
from ..gaussian import LatentGaussian
from .augmentation import augment, quantise, resize_longer_side
from .network import Encoder, is_wide, to_canonical
from .pairs import FIRST_SEED, draw_pairs

DEFAULT_PAIRS = 48_000
MIN_PAIRS = 100
_EPOCHS = 8
_MIN_STEPS = 100
_LEARNING_RATE, _FINAL_LEARNING_RATE = 1.5e-3, 1e-5
_WARMUP_STEPS = 200  # steps, or a tenth of all steps
_WEIGHT_DECAY = 0.05
_MAX_GRAD_NORM = 1.0
_HOLDOUT = (5, 1000)  # one in 5 pairs, at most 1000
_AUGMENTATIONS = 4  # of each held-out pair
_PRIOR_PAIRS, _NEWTON_STEPS = 50, 20  # of the calibration; see `_fit_log_std`
_BATCH_SIZES = (64, 16)  # of a wide encoder, and of a narrow one, which may have few pairs
_SAVE_EVERY = 100  # steps, under a minute
_EVALUATION_SIDES = (8, 16, 32, 64)  # pixels

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
    """Renders training pairs and trains an encoder on them.

    The default number of pairs takes about an hour on two cores, and minutes on a GPU.

    Args:
        gaussian: the fit of the generator, with its covariance; the encoder predicts along its principal axes.
        pairs: 100 or more.
        cache: a folder for pairs and the training state, to resume from; the caller deletes it.
        on_progress: called with (done, pairs) while rendering, then with (done, steps) while training; an exception
            from it stops the fit.

    Raises:
        SettingError: too few pairs.
        CheckpointError: the generator has no mapping network.
    """
    if pairs < MIN_PAIRS:
        raise SettingError(
            f"{pairs} pairs were asked for.", f"{MIN_PAIRS} or more.", f"{DEFAULT_PAIRS} is the default."
        )
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
    """The training of `fit_encoder`: pictures [N, 3, h, w] uint8 and whitened w [N, w_dim] -> an encoder.

    Args:
        steps: gradient steps; None means eight epochs.
    """
    batch = _BATCH_SIZES[0] if is_wide(white.shape[1]) else _BATCH_SIZES[1]
    steps = steps or max(_MIN_STEPS, _EPOCHS * len(pictures) // batch)
    held = min(_HOLDOUT[1], len(pictures) // _HOLDOUT[0])
    weight = gaussian.axes[1].float().cpu()
    run = _Training.create(pictures[held:], white[held:], weight / weight.mean(), (steps, batch), device, cache)
    with torch.inference_mode(False), torch.enable_grad():
        while run.step < steps:
            run.train_step()
            if cache is not None and run.step % _SAVE_EVERY == 0:
                run.save(cache)
            if on_progress is not None:
                on_progress(run.step, steps)
    encoder = _calibrate(run.encoder.map_tensors(lambda tensor: tensor.float().cpu()), pictures[:held], white[:held])
    # float16, as in a file, so that a cached encoder is identical
    encoder = encoder.map_tensors(lambda tensor: tensor.half().float())
    encoder.signs = gaussian.signs
    for side in _EVALUATION_SIDES:
        evaluation = evaluate(encoder, pictures[:held], white[:held], weight, side)
        log.info("At %d pixels the encoder explains %.3f of the variance of W.", side, evaluation.explained)
    return encoder


@torch.no_grad()
def _calibrate(encoder: Encoder, pictures: Tensor, white: Tensor) -> Encoder:
    """A copy whose means and variances are recalibrated on held-out pairs; changes little after many pairs."""
    random, means, log_stds = torch.Generator().manual_seed(FIRST_SEED - 1), [], []
    white = white.float().repeat(_AUGMENTATIONS, 1)
    for part in pictures.repeat(_AUGMENTATIONS, 1, 1, 1).split(100):
        mean, log_std = encoder(augment(part.float() / 255, random))
        means.append(mean)
        log_stds.append(log_std)
    mean, log_std = torch.cat(means), torch.cat(log_stds)
    slope = ((mean * white).sum(0) / mean.square().sum(0).clamp(min=1e-9)).clamp(0, 1)
    return encoder.rescaled(slope, *_fit_log_std((white - slope * mean).square(), log_std, len(pictures)))


def _fit_log_std(error: Tensor, log_std: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The maximum-likelihood (a, b), [w_dim] each, of a * log_std + b for squared errors [N, w_dim].

    Newton's method on the log-likelihood, which is concave. A prior worth `_PRIOR_PAIRS` pairs, besides the `count`
    pairs given, favours a = 1 and b = 0.
    """
    a, b, prior = torch.ones(log_std.shape[1]), torch.zeros(log_std.shape[1]), _PRIOR_PAIRS / count
    for _ in range(_NEWTON_STEPS):
        ratio = error * (-2 * (a * log_std + b)).exp()
        slope_a = ((1 - ratio) * log_std).mean(0) + prior * (a - 1)
        slope_b = (1 - ratio).mean(0) + prior * b
        aa = 2 * (ratio * log_std.square()).mean(0) + prior
        ab = 2 * (ratio * log_std).mean(0)
        bb = 2 * ratio.mean(0) + prior
        scale = 1 / (aa * bb - ab.square())
        a = a - ((bb * slope_a - ab * slope_b) * scale).clamp(-0.2, 0.2)
        b = b - ((aa * slope_b - ab * slope_a) * scale).clamp(-0.2, 0.2)
    return a, b


@dataclass
class _Training:
    """The state of a training.

    weight: [w_dim], the weight of each axis in the loss: the standard deviation along it, with mean 1.
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
    def create(
        pictures: Tensor,
        white: Tensor,
        weight: Tensor,
        length: tuple[int, int],
        device: torch.device | str,
        cache: Path | None,
    ) -> _Training:
        """Starts a training, or resumes the one in the cache. length: steps, and batch size."""
        size = (pictures.shape[-2], pictures.shape[-1])
        encoder = Encoder(white.shape[1], size).initialise(torch.Generator().manual_seed(FIRST_SEED))
        encoder = encoder.to(device).requires_grad_(True)
        optimizer = torch.optim.AdamW(encoder.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        run = _Training(encoder, optimizer, pictures, white, weight.to(device), *length)
        if cache is not None:
            run._resume(cache)
        return run

    def train_step(self) -> None:
        """One gradient step."""
        random = torch.Generator().manual_seed(FIRST_SEED + self.step)
        rows = torch.randint(len(self.pictures), (self.batch,), generator=random)
        pictures = augment(self.pictures[rows].float() / 255, random).to(self.weight.device)
        for group in self.optimizer.param_groups:
            group["lr"] = _learning_rate(self.step, self.steps)
        self.optimizer.zero_grad()
        with _autocast(pictures.device):
            mean, log_std = self.encoder(pictures)
        error = (self.white[rows].to(mean) - mean) * (-log_std).exp()
        loss = ((error.square() / 2 + log_std) * self.weight).mean()
        loss.backward()
        clip_grad_norm_(self.encoder.parameters(), _MAX_GRAD_NORM)
        self.optimizer.step()
        self.step += 1

    def save(self, cache: Path) -> None:
        """Writes weights, optimiser state and step."""
        tensors = {f"weight.{name}": tensor.detach() for name, tensor in self.encoder.named_parameters()}
        for name, parameter in self.encoder.named_parameters():
            state = self.optimizer.state[parameter]
            tensors |= {f"first.{name}": state["exp_avg"], f"second.{name}": state["exp_avg_sq"]}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        at = torch.tensor([self.step, self.steps, len(self.pictures)])
        safetensors_format.write(cache / "training.safetensors", tensors | {"at": at})

    def _resume(self, cache: Path) -> None:
        """Restores what `save` wrote, if it belongs to the same training."""
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
            return  # no file yet, or one of another version
        self.step = step


def _learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then linear decay."""
    warm = min(_WARMUP_STEPS, steps // 10)
    return max(_FINAL_LEARNING_RATE, _LEARNING_RATE * min((step + 1) / warm, (steps - step) / (steps - warm)))


def _autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the hardware supports it, which halves the time; the rounding is below the gradient noise."""
    is_supported = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() if device.type == "cpu" else device.type == "cuda"
    )
    return torch.autocast(device.type, torch.bfloat16) if is_supported else nullcontext()


@dataclass(frozen=True)
class Evaluation:
    """The quality of an encoder's predictions.

    explained: the explained share of the variance of W, before its last LeakyReLU. by_axis: [w_dim], along each axis.
    calibration: the mean of ((w - mean) / std)^2 with the same weights; 1 is perfect.
    """

    explained: float
    by_axis: Tensor
    calibration: float


def evaluate(encoder: Encoder, pictures: Tensor, white: Tensor, spread: Tensor, side: int) -> Evaluation:
    """Evaluates an encoder on held-out pictures [N, 3, h, w] uint8, downscaled to `side` pixels, and their whitened w.

    Args:
        spread: [w_dim], the standard deviations along the axes.
    """
    white, variance = white.float(), spread.square() / spread.square().sum()
    predictions = []
    for part in pictures.split(100):
        small = quantise(resize_longer_side(part.float() / 255, min(side, max(part.shape[-2:]))))
        predictions.append(encoder.posterior(to_canonical(small, encoder.size)))
    mean, std = (torch.cat(each) for each in zip(*predictions, strict=True))
    by_axis = 1 - (white - mean).square().mean(0) / white.square().mean(0)
    ratio = ((white - mean) / std).square().mean(0)
    return Evaluation(float((by_axis * variance).sum()), by_axis, float((ratio * variance).sum()))

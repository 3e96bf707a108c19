"""The latent Gaussian: what W looks like before the mapping network's last nonlinearity.

PULSE, section 3.3: z ~ N(0, I) goes through the mapping network and the inverse of its last
LeakyReLU; mean and standard deviation of each dimension make a Gaussian that the search draws from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from . import catalogue
from .checkpoints import read_checkpoint, safetensors_format
from .errors import CheckpointError, SettingError
from .generators import Generator
from .generators.mapping import SLOPE, draw_labels

DEFAULT_SAMPLES = 1_000_000
FIT_SUFFIX = ".gaussian.safetensors"
PULSE_FIT = "gaussian_fit.pt"  # the published code's file
_BATCH = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatentGaussian:
    """mean, std: [w_dim] each, of W before the last LeakyReLU."""

    mean: Tensor
    std: Tensor

    def to_ws(self, v: Tensor) -> Tensor:
        """Standard normal v [B, L, w_dim] -> style vectors LeakyReLU(v * std + mean), the same shape."""
        return F.leaky_relu(v * self.std.to(v) + self.mean.to(v), SLOPE)

    def from_ws(self, ws: Tensor) -> Tensor:
        """The inverse of `to_ws`."""
        return (F.leaky_relu(ws, 1 / SLOPE) - self.mean.to(ws)) / self.std.to(ws)

    def save(self, path: Path | str, metadata: dict[str, str] | None = None) -> None:
        """Writes mean and std as a safetensors file, whole or not at all."""
        tensors = {"mean": self.mean.float().cpu().contiguous(), "std": self.std.float().cpu().contiguous()}
        safetensors_format.write(path, tensors, metadata)

    @staticmethod
    def load(path: Path | str) -> LatentGaussian:
        """Reads what `save` wrote, or PULSE's gaussian_fit.pt.

        Raises:
            CheckpointError: not a fit.
        """
        tensors = {name: tensor.read() for name, tensor in read_checkpoint(path).tensors.items()}
        if (
            set(tensors) != {"mean", "std"}
            or tensors["mean"].shape != tensors["std"].shape
            or tensors["mean"].ndim != 1
        ):
            raise CheckpointError(
                f"{path} holds {', '.join(f'{k} {list(v.shape)}' for k, v in sorted(tensors.items())[:4])}.",
                "a latent Gaussian fit: the tensors mean and std, one number each a dimension of W.",
                "make one with `python -m pulse_core fit GENERATOR`.",
            )
        return LatentGaussian(tensors["mean"].float(), tensors["std"].float())


def fit_gaussian(
    generator: Generator,
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    *,
    class_index: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LatentGaussian:
    """Fits the Gaussian by sampling the mapping network.

    Streamed: memory does not grow with `samples`. z is drawn on the CPU from an own random generator, so
    the same seed gives the same samples on every device.

    Args:
        samples: 2 or more; 1,000,000 is what was published.
        class_index: of a conditional generator; None fits all its classes in equal parts.
        on_progress: called with (done, samples) after each batch; what it raises stops the fit.

    Raises:
        SettingError: fewer than 2 samples, or no such class.
        CheckpointError: the generator has no mapping network.
    """
    if samples < 2:
        raise SettingError(f"samples is {samples}.", "2 or more.", "1,000,000 is the published number.")

    def batches() -> Iterator[Tensor]:
        random = torch.Generator().manual_seed(seed)
        like = next(generator.synthesis.parameters())
        for done in range(0, samples, _BATCH):
            count = min(_BATCH, samples - done)
            z = torch.randn(count, generator.z_dim, generator=random)
            c = draw_labels(count, generator.c_dim, class_index, random)
            yield generator.mapping.map_to_w(z.to(like), c)
            if on_progress is not None:
                on_progress(min(done + _BATCH, samples), samples)

    with torch.no_grad():
        fit = moments(batches())
    return LatentGaussian(fit.mean.float(), fit.std.float())  # as a file keeps it, so that a cached fit is the same


def moments(batches: Iterable[Tensor]) -> LatentGaussian:
    """Mean and unbiased standard deviation, in float64, of the inverse-LeakyReLU'd w over batches [N, w_dim].

    Accumulated in float64 by merging batch moments (Chan, Golub, LeVeque 1979), so that a long stream
    loses nothing to cancellation.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for w in batches:
        w = w.cpu() if w.device.type == "mps" else w  # which has no float64
        v = F.leaky_relu(w, 1 / SLOPE).double()
        n, batch_mean = v.shape[0], v.mean(0)
        batch_squares = (v - batch_mean).square_().sum(0)
        delta = batch_mean - mean.to(v)
        squares = squares.to(v) + batch_squares + delta.square() * (count * n / (count + n))
        mean = mean.to(v) + delta * (n / (count + n))
        count += n
    return LatentGaussian(mean.cpu(), (squares / (count - 1)).sqrt().cpu())


def gaussian_for(
    generator: Generator,
    *,
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    class_index: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LatentGaussian:
    """The fit of a generator: shipped with the pack, cached beside its checkpoint, or made and cached now.

    For the arguments and errors see `fit_gaussian`.
    """
    shipped = catalogue.shipped_fit(generator.content_hash)
    if shipped is not None and (samples, seed, class_index) == (DEFAULT_SAMPLES, 0, None):
        return LatentGaussian.load(shipped)
    cache = cache_path(generator, samples, seed, class_index)
    if cache is not None and cache.is_file():
        return LatentGaussian.load(cache)
    fit = fit_gaussian(generator, samples, seed, class_index=class_index, on_progress=on_progress)
    if cache is not None:
        try:
            fit.save(cache, fit_metadata(generator, samples, seed, class_index))
        except OSError as error:
            log.warning("The latent Gaussian fit could not be cached at %s (%s); it will be made again.", cache, error)
    return fit


def cache_path(generator: Generator, samples: int, seed: int, class_index: int | None = None) -> Path | None:
    """Where a fit is cached: beside the checkpoint, by its content; None for a generator without a file."""
    if generator.source is None:
        return None
    parts = [generator.content_hash[:16], str(samples), str(seed)]
    if class_index is not None:
        parts.append(f"class{class_index}")
    return generator.source.with_name("-".join(parts) + FIT_SUFFIX)


def fit_metadata(generator: Generator, samples: int, seed: int, class_index: int | None = None) -> dict[str, str]:
    """What a fit's file says of itself."""
    return {
        "generator": generator.name,
        "content_hash": generator.content_hash,
        "samples": str(samples),
        "seed": str(seed),
        "class": "all" if class_index is None else str(class_index),
    }

"""The latent Gaussian: what W looks like before the mapping network's last nonlinearity.

PULSE, section 3.3: z ~ N(0, I) goes through the mapping network and the inverse of its last
LeakyReLU; mean and standard deviation of each dimension make a Gaussian that the search draws from.
The dimensions are far from independent, so the covariance is kept as well: in its principal axes the
latents are white (II2S, Zhu et al. 2020, arXiv 2012.09036).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints import read_checkpoint, safetensors_format
from ..errors import CheckpointError, SettingError
from ..fetching import catalogue
from ..generators import Generator
from ..generators.mapping import SLOPE, draw_labels
from .encoder import Encoder, encoder_path, fit_encoder

DEFAULT_SAMPLES = 1_000_000
FIT_SUFFIX = ".gaussian.safetensors"
PULSE_FIT = "gaussian_fit.pt"  # the published code's file
_BATCH = 4096
_PARTS = {"mean", "std", "covariance"}
_PAST = {"start.mean", "start.weight"}  # a regression that fits once had instead of an encoder
_FLATTEST = 1e-6  # of the largest variance

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatentGaussian:
    """What W looks like before the last LeakyReLU.

    mean, std: [w_dim] each. covariance: [w_dim, w_dim]; None, as in PULSE's own file, takes the dimensions as
    independent. encoder: guesses a latent from a picture; None where none was trained.
    """

    mean: Tensor
    std: Tensor
    covariance: Tensor | None = None
    encoder: Encoder | None = None

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> LatentGaussian:
        """With all its tensors changed, for example moved to a device."""
        covariance = None if self.covariance is None else change(self.covariance)
        encoder = None if self.encoder is None else self.encoder.map_tensors(change)
        changed = LatentGaussian(change(self.mean), change(self.std), covariance, encoder)
        if "axes" in self.__dict__ and changed.mean.dtype == self.mean.dtype:  # they take a while to compute
            changed.__dict__["axes"] = tuple(map(change, self.axes))
        return changed

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its tensors, and of its encoder's."""
        digest = hashlib.sha256()
        encoder = {} if self.encoder is None else self.encoder.tensors()
        for tensor in (*self.tensors().values(), *encoder.values()):
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def axes(self) -> tuple[Tensor, Tensor]:
        """Principal axes [w_dim, w_dim], a column each, and the standard deviations along them [w_dim], falling.

        Directions in which the latents hardly vary are given a little, so that no latent is infinitely far.
        """
        if self.covariance is None:
            return torch.eye(len(self.std)).to(self.std), self.std
        values, vectors = torch.linalg.eigh(self.covariance.cpu().double())
        spread = values.clamp(min=_FLATTEST * float(values.max())).sqrt().flip(0)
        return vectors.flip(1).to(self.mean), spread.to(self.mean)

    @property
    def signs(self) -> Tensor:
        """[w_dim], 1 or -1: the sign of the largest number of each principal axis, which is left to chance."""
        axes = self.axes[0].cpu()
        return axes.gather(0, axes.abs().argmax(0, keepdim=True))[0].sign().to(torch.int8)

    def whiten(self, ws: Tensor) -> Tensor:
        """Style vectors [..., w_dim] -> white latents: standard normal for those that the generator draws."""
        axes, spread = (each.to(ws) for each in self.axes)
        return (F.leaky_relu(ws, 1 / SLOPE) - self.mean.to(ws)) @ axes / spread

    def colour(self, white: Tensor) -> Tensor:
        """The inverse of `whiten`."""
        axes, spread = (each.to(white) for each in self.axes)
        return F.leaky_relu((white * spread) @ axes.mT + self.mean.to(white), SLOPE)

    def distance(self, ws: Tensor) -> Tensor:
        """[..., num_ws, w_dim] -> [...]: the Mahalanobis distance of the styles, root mean square over all dimensions.

        About 1 for what the generator draws.
        """
        return self.whiten(ws).square().mean((-2, -1)).sqrt()

    def to_ws(self, v: Tensor) -> Tensor:
        """Standard normal v [B, L, w_dim] -> style vectors LeakyReLU(v * std + mean), the same shape."""
        return F.leaky_relu(v * self.std.to(v) + self.mean.to(v), SLOPE)

    def from_ws(self, ws: Tensor) -> Tensor:
        """The inverse of `to_ws`."""
        return (F.leaky_relu(ws, 1 / SLOPE) - self.mean.to(ws)) / self.std.to(ws)

    def tensors(self) -> dict[str, Tensor]:
        """All there is but the encoder, by the names that a file has for it."""
        tensors = {"mean": self.mean, "std": self.std}
        if self.covariance is not None:
            tensors["covariance"] = self.covariance
        return tensors

    def save(self, path: Path | str, metadata: dict[str, str] | None = None) -> None:
        """Writes all there is as a safetensors file, whole or not at all; the encoder as another one beside it."""
        tensors = {name: tensor.float().cpu().contiguous() for name, tensor in self.tensors().items()}
        if self.encoder is not None:  # first: a fit without its encoder is usable, and completed when it is asked for
            self.encoder.save(encoder_path(path), metadata)
        safetensors_format.write(path, tensors, metadata)

    @staticmethod
    def load(path: Path | str) -> LatentGaussian:
        """Reads what `save` wrote, with the encoder beside it where there is one, or PULSE's gaussian_fit.pt.

        Raises:
            CheckpointError: not a fit, or the encoder is not one, or not this generator's.
        """
        checkpoint = read_checkpoint(path)
        tensors = {name: tensor.read().float() for name, tensor in checkpoint.tensors.items() if name not in _PAST}
        mean, std, covariance = (tensors.get(name) for name in ("mean", "std", "covariance"))
        if mean is None or std is None or not _fits(mean, std, covariance) or set(tensors) - _PARTS:
            raise CheckpointError(
                f"{path} holds {', '.join(f'{k} {list(v.shape)}' for k, v in sorted(tensors.items())[:4])}.",
                "a latent Gaussian fit: the tensors mean and std, one number each a dimension of W.",
                "make one with `python -m pulse_core fit GENERATOR`.",
            )
        fit = LatentGaussian(mean, std, covariance)
        beside = encoder_path(path)
        return replace(fit, encoder=_encoder(beside, fit, checkpoint.metadata)) if beside.is_file() else fit


def _fits(mean: Tensor, std: Tensor, covariance: Tensor | None) -> bool:
    count = mean.numel()
    square = covariance is None or covariance.shape == (count, count)
    return mean.ndim == 1 and std.shape == mean.shape and square


def _encoder(path: Path, fit: LatentGaussian, metadata: Mapping[str, Any]) -> Encoder:
    """The encoder in a file, which speaks of the axes of this fit."""
    encoder = Encoder.load(path)
    other = read_checkpoint(path).metadata
    is_others = any(name in other and other[name] != metadata.get(name) for name in ("content_hash", "class"))
    if is_others or encoder.w_dim != len(fit.mean):
        raise CheckpointError(
            f"The encoder in {path} is for another generator or class: w_dim {encoder.w_dim}, "
            f"{other.get('generator', 'of no name')!r}.",
            f"the encoder of the fit beside it, w_dim {len(fit.mean)}, or none.",
            "delete it, or make both anew with `python -m pulse_core fit GENERATOR --encoder N`.",
        )
    return encoder.facing(fit.signs)


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
    assert fit.covariance is not None
    # as a file keeps it, so that a cached fit is the same
    return LatentGaussian(fit.mean.float(), fit.std.float(), fit.covariance.float())


def moments(batches: Iterable[Tensor]) -> LatentGaussian:
    """Mean, unbiased standard deviation and covariance of the inverse-LeakyReLU'd w over batches [N, w_dim].

    Accumulated in float64 by merging batch moments (Chan, Golub, LeVeque 1979), so that a long stream loses
    nothing to cancellation. A batch's own covariance is summed in its own precision, its diagonal in float64.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for w in batches:
        w = w.cpu() if w.device.type == "mps" else w  # which has no float64
        v = F.leaky_relu(w, 1 / SLOPE)
        n, exact = v.shape[0], v.double()
        batch_mean = exact.mean(0)
        exact -= batch_mean
        centred = exact.to(v)
        products = (centred.mT @ centred).double()
        products.diagonal().copy_(exact.square_().sum(0))
        delta = batch_mean - mean.to(exact)
        squares = squares.to(exact) + products + torch.outer(delta, delta) * (count * n / (count + n))
        mean = mean.to(exact) + delta * (n / (count + n))
        count += n
    covariance = (squares / (count - 1)).cpu()
    return LatentGaussian(mean.cpu(), covariance.diagonal().sqrt(), covariance)


def gaussian_for(
    generator: Generator,
    *,
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    class_index: int | None = None,
    encoder_pairs: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> LatentGaussian:
    """The fit of a generator: shipped with the pack, cached beside its checkpoint, or made and cached now.

    Args:
        encoder_pairs: where the fit has no encoder, train it with so many rendered images; 0: leave it.

    For the other arguments and errors see `fit_gaussian`.
    """
    shipped = catalogue.shipped_fit(generator.content_hash)
    if shipped is not None and (samples, seed, class_index) == (DEFAULT_SAMPLES, 0, None):
        return LatentGaussian.load(shipped)
    cache = cache_path(generator, samples, seed, class_index)
    known = LatentGaussian.load(cache) if cache is not None and cache.is_file() else None
    if known is None or known.covariance is None:  # earlier versions did not measure it
        fit = fit_gaussian(generator, samples, seed, class_index=class_index, on_progress=on_progress)
    else:
        fit = known
    if encoder_pairs and fit.encoder is None:
        folder = None if cache is None else training_path(cache)
        encoder = fit_encoder(
            generator, fit, encoder_pairs, class_index=class_index, cache=folder, on_progress=on_progress
        )
        fit = replace(fit, encoder=encoder)
    if cache is not None and fit is not known:
        try:
            fit.save(cache, fit_metadata(generator, samples, seed, class_index))
        except OSError as error:
            log.warning("The latent Gaussian fit could not be cached at %s (%s); it will be made again.", cache, error)
        else:
            shutil.rmtree(training_path(cache), ignore_errors=True)
    return fit


def training_path(fit: Path) -> Path:
    """The folder in which the training of a fit's encoder keeps its pairs, until it is done."""
    path = encoder_path(fit)
    return path.with_name(path.name.removesuffix(path.suffix) + ".training")


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

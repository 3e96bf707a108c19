"""The Gaussian fit of W: mean and covariance before the mapping network's last LeakyReLU.

PULSE (Menon et al. 2020, arXiv 2003.03808), section 3.3, maps z ~ N(0, I) through the mapping network, inverts its last
LeakyReLU, and fits a Gaussian with independent dimensions. The dimensions are far from independent, so the covariance
is kept too: along its principal axes the latents are white (II2S, Zhu et al. 2020, arXiv 2012.09036).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints import read_checkpoint, safetensors_format
from ..defaults import own_defaults, own_numbers
from ..errors import CheckpointError, SettingError
from ..generators import Generator
from ..generators.mapping import SLOPE, draw_labels
from .attributes import Attribute
from .encoder.network import Encoder, encoder_path

DEFAULT_SAMPLES = 1_000_000
_BATCH = 4096
_GLASSES = "glasses."  # before the names of an attribute's tensors
_TENSORS = {"mean", "std", "covariance", f"{_GLASSES}direction", f"{_GLASSES}modes"}
_LEGACY_TENSORS = {"start.mean", "start.weight"}  # a linear regression, which older files have instead of an encoder
_MIN_VARIANCE = 1e-6  # relative to the largest variance


@dataclass(frozen=True)
class LatentGaussian:
    """A Gaussian over W before the last LeakyReLU.

    Args:
        mean, std: [w_dim] each.
        covariance: [w_dim, w_dim]; None, as in PULSE's own file, means independent dimensions.
        encoder: predicts a latent from a picture; None if none was trained.
        glasses: where faces with and without glasses are; None if unknown.
    """

    mean: Tensor
    std: Tensor
    covariance: Tensor | None = None
    encoder: Encoder | None = None
    glasses: Attribute | None = None

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> LatentGaussian:
        """A copy with the function applied to every tensor, for example to move it to a device."""
        covariance = None if self.covariance is None else function(self.covariance)
        encoder = None if self.encoder is None else self.encoder.map_tensors(function)
        glasses = None if self.glasses is None else self.glasses.map_tensors(function)
        mapped = LatentGaussian(function(self.mean), function(self.std), covariance, encoder, glasses)
        if "axes" in self.__dict__ and mapped.mean.dtype == self.mean.dtype:  # saves an eigendecomposition
            mapped.__dict__["axes"] = tuple(map(function, self.axes))
        return mapped

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all tensors, including the encoder's."""
        digest = hashlib.sha256()
        encoder = {} if self.encoder is None else self.encoder.tensors()
        for tensor in (*self.tensors().values(), *encoder.values()):
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    @own_defaults
    def axes(self) -> tuple[Tensor, Tensor]:
        """The principal axes [w_dim, w_dim], one per column, and the descending standard deviations along them [w_dim].

        The variances have a lower bound, so that no latent is infinitely far from the mean.
        """
        if self.covariance is None:
            return torch.eye(len(self.std), dtype=self.std.dtype, device=self.std.device), self.std
        values, vectors = torch.linalg.eigh(self.covariance.cpu().double())
        spread = values.clamp(min=_MIN_VARIANCE * float(values.max())).sqrt().flip(0)
        return vectors.flip(1).to(self.mean), spread.to(self.mean)

    @property
    def signs(self) -> Tensor:
        """[w_dim], 1 or -1: the sign of the largest component of each principal axis, which is arbitrary."""
        axes = self.axes[0].cpu()
        return axes.gather(0, axes.abs().argmax(0, keepdim=True))[0].sign().to(torch.int8)

    @own_numbers
    def whiten(self, ws: Tensor) -> Tensor:
        """Style vectors [..., w_dim] -> white latents, which are standard normal for samples of the generator."""
        axes, spread = (each.to(ws) for each in self.axes)
        return (F.leaky_relu(ws, 1 / SLOPE) - self.mean.to(ws)) @ axes / spread

    @own_numbers
    def colour(self, white: Tensor) -> Tensor:
        """The inverse of `whiten`."""
        axes, spread = (each.to(white) for each in self.axes)
        return F.leaky_relu((white * spread) @ axes.mT + self.mean.to(white), SLOPE)

    def distance(self, ws: Tensor) -> Tensor:
        """[..., num_ws, w_dim] -> [...]: the Mahalanobis distance from the mean, as an RMS over all dimensions.

        About 1 for samples of the generator.
        """
        return self.whiten(ws).square().mean((-2, -1)).sqrt()

    def to_ws(self, v: Tensor) -> Tensor:
        """Standard normal v [B, L, w_dim] -> style vectors LeakyReLU(v * std + mean) of the same shape."""
        return F.leaky_relu(v * self.std.to(v) + self.mean.to(v), SLOPE)

    def from_ws(self, ws: Tensor) -> Tensor:
        """The inverse of `to_ws`."""
        return (F.leaky_relu(ws, 1 / SLOPE) - self.mean.to(ws)) / self.std.to(ws)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors except the encoder's, by their names in a file."""
        tensors = {"mean": self.mean, "std": self.std}
        if self.covariance is not None:
            tensors["covariance"] = self.covariance
        if self.glasses is not None:
            tensors |= {_GLASSES + name: tensor for name, tensor in self.glasses.tensors().items()}
        return tensors

    def save(self, path: Path | str, metadata: dict[str, str] | None = None) -> None:
        """Writes a safetensors file atomically, and the encoder as another one beside it."""
        tensors = {name: tensor.float().cpu().contiguous() for name, tensor in self.tensors().items()}
        if self.encoder is not None:  # first, since a fit that lacks its encoder is trained again when needed
            self.encoder.save(encoder_path(path), metadata)
        safetensors_format.write(path, tensors, metadata)

    @staticmethod
    @own_defaults
    def load(path: Path | str) -> LatentGaussian:
        """Reads a file written by `save`, with the encoder beside it if there is one, or PULSE's gaussian_fit.pt.

        Raises:
            CheckpointError: not a Gaussian fit, or the encoder beside it is damaged or another generator's.
        """
        checkpoint = read_checkpoint(path)
        tensors = {
            name: tensor.read().float() for name, tensor in checkpoint.tensors.items() if name not in _LEGACY_TENSORS
        }
        mean, std, covariance = (tensors.get(name) for name in ("mean", "std", "covariance"))
        glasses = _glasses(tensors)
        agree = mean is not None and std is not None and _shapes_agree(mean, std, covariance, glasses)
        if mean is None or std is None or not agree or set(tensors) - _TENSORS:
            raise CheckpointError(
                f"{path} holds {', '.join(f'{k} {list(v.shape)}' for k, v in sorted(tensors.items())[:4])}.",
                "a latent Gaussian fit: the tensors mean and std, with one number per dimension of W; covariance, "
                "glasses.direction and glasses.modes may follow.",
                "make one with `python -m pulse_core fit GENERATOR`.",
            )
        finite = all(bool(tensor.isfinite().all()) for tensor in tensors.values())
        if not finite or bool((std < 0).any()) or (glasses is not None and not glasses.is_proper):
            raise CheckpointError(
                f"{path} holds numbers that are not finite, negative standard deviations, or no direction.",
                "a latent Gaussian fit with finite numbers.",
                "delete it, and make one with `python -m pulse_core fit GENERATOR`.",
            )
        fit = LatentGaussian(mean, std, covariance, glasses=glasses)
        encoder_file = encoder_path(path)
        if not encoder_file.is_file():
            return fit
        return replace(fit, encoder=_load_encoder(encoder_file, fit, checkpoint.metadata))


def _glasses(tensors: Mapping[str, Tensor]) -> Attribute | None:
    """The attribute in a file, None if there is none; empty tensors stand for those that lack."""
    if not any(name.startswith(_GLASSES) for name in tensors):
        return None
    return Attribute(*(tensors.get(_GLASSES + name, torch.empty(0)) for name in ("direction", "modes")))


def _shapes_agree(mean: Tensor, std: Tensor, covariance: Tensor | None, glasses: Attribute | None) -> bool:
    count = mean.numel()
    square = covariance is None or covariance.shape == (count, count)
    fits = glasses is None or (glasses.direction.shape, glasses.modes.shape) == (mean.shape, (2, 2))
    return mean.ndim == 1 and std.shape == mean.shape and square and fits


def _load_encoder(path: Path, fit: LatentGaussian, metadata: Mapping[str, Any]) -> Encoder:
    """Reads an encoder and aligns its output with the principal axes of the fit."""
    encoder = Encoder.load(path)
    other = read_checkpoint(path).metadata
    differs = any(name in other and other[name] != metadata.get(name) for name in ("content_hash", "class"))
    if differs or encoder.w_dim != len(fit.mean):
        raise CheckpointError(
            f"The encoder in {path} is for another generator or class: w_dim {encoder.w_dim}, "
            f"{other.get('generator', 'of no name')!r}.",
            f"the encoder of the fit beside it, w_dim {len(fit.mean)}, or none.",
            "delete it, or make both again with `python -m pulse_core fit GENERATOR --encoder N`.",
        )
    return encoder.with_signs(fit.signs)


@own_defaults
def fit_gaussian(
    generator: Generator,
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    *,
    class_index: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LatentGaussian:
    """Fits the Gaussian to samples of the mapping network.

    Samples are streamed, so memory does not grow with their number. z is drawn on the CPU from its own random
    generator, so a seed gives the same samples on every device.

    Args:
        samples: 2 or more; PULSE published 1,000,000.
        class_index: the class, for a conditional generator; None fits all classes in equal parts.
        on_progress: called with (done, samples) after each batch; an exception from it stops the fit.

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
    # float32, as in a file, so that a cached fit is identical
    return LatentGaussian(fit.mean.float(), fit.std.float(), fit.covariance.float())


def moments(batches: Iterable[Tensor]) -> LatentGaussian:
    """Mean, unbiased standard deviation and covariance over batches of w [N, w_dim], after the inverse LeakyReLU.

    The moments of the batches are merged in float64 (Chan, Golub, LeVeque 1979), which avoids cancellation in long
    streams. Within a batch the covariance is summed in the batch's precision, and its diagonal in float64.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for w in batches:
        w = w.cpu() if w.device.type == "mps" else w  # MPS has no float64
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

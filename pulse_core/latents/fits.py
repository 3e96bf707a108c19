"""The Gaussian fit of a generator: shipped with the pack, cached beside its checkpoint, or computed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..fetching import catalogue
from ..generators import Generator
from .encoder.network import encoder_path
from .encoder.training import fit_encoder
from .gaussian import DEFAULT_SAMPLES, LatentGaussian, fit_gaussian

FIT_SUFFIX = ".gaussian.safetensors"
PULSE_FIT = "gaussian_fit.pt"  # the file of the published code

log = logging.getLogger(__name__)


def gaussian_for(
    generator: Generator,
    *,
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    class_index: int | None = None,
    encoder_pairs: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> LatentGaussian:
    """Loads the fit that ships with the pack or is cached beside the checkpoint, or computes and caches it.

    Args:
        encoder_pairs: if the fit has no encoder, train one on this many rendered images; 0 trains none.

    For the other arguments and the errors see `fit_gaussian`.
    """
    shipped = catalogue.shipped_fit(generator.content_hash)
    if shipped is not None and (samples, seed, class_index) == (DEFAULT_SAMPLES, 0, None):
        return LatentGaussian.load(shipped)
    cache = cache_path(generator, samples, seed, class_index)
    cached = LatentGaussian.load(cache) if cache is not None and cache.is_file() else None
    if cached is None or cached.covariance is None:  # earlier versions stored no covariance
        fit = fit_gaussian(generator, samples, seed, class_index=class_index, on_progress=on_progress)
    else:
        fit = cached
    if encoder_pairs and fit.encoder is None:
        folder = None if cache is None else training_path(cache)
        encoder = fit_encoder(
            generator, fit, encoder_pairs, class_index=class_index, cache=folder, on_progress=on_progress
        )
        fit = replace(fit, encoder=encoder)
    if cache is not None and fit is not cached:
        try:
            fit.save(cache, fit_metadata(generator, samples, seed, class_index))
        except OSError as error:
            log.warning(
                "The latent Gaussian fit could not be cached at %s (%s); it will be computed again.", cache, error
            )
        else:
            shutil.rmtree(training_path(cache), ignore_errors=True)
    return fit


def training_path(fit: Path) -> Path:
    """The folder that holds the pairs and the state of an encoder's training until it is finished."""
    path = encoder_path(fit)
    return path.with_name(path.name.removesuffix(path.suffix) + ".training")


def cache_path(generator: Generator, samples: int, seed: int, class_index: int | None = None) -> Path | None:
    """The cache file of a fit: beside the checkpoint, named by its content; None for a generator without a file."""
    if generator.source is None:
        return None
    parts = [generator.content_hash[:16], str(samples), str(seed)]
    if class_index is not None:
        parts.append(f"class{class_index}")
    return generator.source.with_name("-".join(parts) + FIT_SUFFIX)


def fit_metadata(generator: Generator, samples: int, seed: int, class_index: int | None = None) -> dict[str, str]:
    """The metadata of a fit's file."""
    return {
        "generator": generator.name,
        "content_hash": generator.content_hash,
        "samples": str(samples),
        "seed": str(seed),
        "class": "all" if class_index is None else str(class_index),
    }

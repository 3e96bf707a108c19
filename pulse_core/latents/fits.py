"""The Gaussian fit of a generator: shipped with the pack, saved beside its checkpoint, cached, or computed."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..defaults import own_defaults
from ..errors import CheckpointError
from ..files import remove_partial_files
from ..generators import Generator
from ..loading import catalogue
from .encoder.network import encoder_path
from .encoder.training import fit_encoder
from .gaussian import DEFAULT_SAMPLES, LatentGaussian, fit_gaussian

FIT_SUFFIX = ".gaussian.safetensors"
PULSE_FIT = "gaussian_fit.pt"  # the file of the published code
KEPT, KEPT_BYTES = 16, 512 << 20  # fits in the cache: how many, and their bytes with those of their encoders

log = logging.getLogger(__name__)


@own_defaults
def gaussian_for(
    generator: Generator,
    *,
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    class_index: int | None = None,
    encoder_pairs: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
    cache: Path | str | None = None,
) -> LatentGaussian:
    """Loads the fit that ships with the pack, was saved beside the checkpoint or is cached, or computes and caches it.

    A saved or cached fit that is damaged is made again.

    Args:
        encoder_pairs: if the fit has no encoder, train one on this many rendered images; 0 trains none.
        cache: the folder of cached fits; None is `cache_folder()`. It keeps the last KEPT fits.

    For the other arguments and the errors see `fit_gaussian`.
    """
    shipped = catalogue.shipped_fit(generator.content_hash)
    if shipped is not None and (samples, seed, class_index) == (DEFAULT_SAMPLES, 0, None):
        return LatentGaussian.load(shipped)
    folder = cache_folder() if cache is None else Path(cache)
    beside = cache_path(generator, samples, seed, class_index)
    own = None if folder is None or beside is None else folder / beside.name
    saved = _first_whole(path for path in (beside, own) if path is not None)
    fit = saved or fit_gaussian(generator, samples, seed, class_index=class_index, on_progress=on_progress)
    if encoder_pairs and fit.encoder is None:
        training = None if own is None else training_path(own)
        encoder = fit_encoder(
            generator, fit, encoder_pairs, class_index=class_index, cache=training, on_progress=on_progress
        )
        fit = replace(fit, encoder=encoder)
    if own is not None and fit is not saved:
        _keep(fit, own, fit_metadata(generator, samples, seed, class_index))
    return fit


def _first_whole(paths: Iterable[Path]) -> LatentGaussian | None:
    """The first of these fits that is there and whole."""
    for path in paths:
        if not path.is_file():
            continue
        try:
            fit = LatentGaussian.load(path)
        except CheckpointError as error:
            log.warning("A saved fit is not used, and made again. %s", error.found)
            continue
        if fit.covariance is not None:  # earlier versions saved none
            with suppress(OSError):
                os.utime(path)  # it was used last
            return fit
    return None


def _keep(fit: LatentGaussian, path: Path, metadata: dict[str, str]) -> None:
    """Saves a fit in the cache, and removes those that were not used for longest."""
    try:
        fit.save(path, metadata)
        shutil.rmtree(training_path(path), ignore_errors=True)
        _prune(path)
    except OSError as error:
        log.warning("The latent Gaussian fit could not be cached at %s (%s); it will be computed again.", path, error)


def _prune(newest: Path) -> None:
    """Removes from a cache what is beyond KEPT and KEPT_BYTES; fits with an encoder last, as that took an hour."""
    remove_partial_files([newest.parent])
    fits = [path for path in newest.parent.glob(f"*{FIT_SUFFIX}") if path != newest]
    used = {path: (encoder_path(path).is_file(), path.stat().st_mtime) for path in fits}
    count, total = 1, sum(map(_bytes, _files_of(newest)))
    for path in sorted(fits, key=used.__getitem__, reverse=True):
        count, total = count + 1, total + sum(map(_bytes, _files_of(path)))
        if count > KEPT or total > KEPT_BYTES:
            for file in _files_of(path):
                file.unlink(missing_ok=True)
            shutil.rmtree(training_path(path), ignore_errors=True)


def _files_of(fit: Path) -> tuple[Path, Path]:
    return fit, encoder_path(fit)


def _bytes(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def cache_folder() -> Path | None:
    """Where fits are cached: PULSE_CACHE, else pulse/fits in the user's folder for caches; None if there is none."""
    if given := os.environ.get("PULSE_CACHE"):
        return Path(given)
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    base = Path(os.environ.get(variable) or "~/.cache")
    try:
        base = base.expanduser()
    except RuntimeError:  # a user without a home
        return None
    return base / "pulse" / "fits" if base.is_absolute() else None


def training_path(fit: Path) -> Path:
    """The folder that holds the pairs and the state of an encoder's training until it is finished."""
    path = encoder_path(fit)
    return path.with_name(path.name.removesuffix(path.suffix) + ".training")


def cache_path(generator: Generator, samples: int, seed: int, class_index: int | None = None) -> Path | None:
    """Where the `fit` command saves a fit: beside the checkpoint, named by its content; None without a file."""
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

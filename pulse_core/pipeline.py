"""The whole way, end to end: a checkpoint and a tiny picture in, invented faces out.

    checkpoint file -> Generator -> LatentGaussian -> search -> image [C, H, W] in 0..1
                                                        ^
                                 low-resolution image --+

Each line of `upscale` is one room of the house; what it calls is where that step lives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .checkpoints.loading import load_generator
from .degradations import Degradation
from .devices.device import best_device, named_device
from .fetching import catalogue
from .generators import Generator
from .latent_search.config import SearchConfig
from .latent_search.loop import search
from .latent_search.solution import OnStep, Solution
from .latents.gaussian import LatentGaussian, gaussian_for
from .latents.latent import Latent
from .pictures.images import read_image


def upscale(
    picture: Tensor | Path | str,
    generator: Generator | Path | str = catalogue.DEFAULT_GENERATOR,
    gaussian: LatentGaussian | None = None,
    config: SearchConfig | None = None,
    *,
    seed: int | Sequence[int] = 0,
    degradation: Degradation | None = None,
    init_latent: Latent | None = None,
    device: torch.device | str | None = None,
    on_step: OnStep | None = None,
) -> list[Solution]:
    """Invents faces whose downscaling is the picture. They are of people who do not exist.

    Args:
        picture: a file, or [B, C, h, w] or [C, h, w] in 0..1, of the generator's shape and at most its size.
        generator: a loaded one, a name of the catalogue, or a checkpoint file.
        gaussian: the latent fit; None takes the shipped or cached one, or makes it.
        config: the settings; None are the recommended ones.
        seed, degradation, init_latent: see `search`.
        device: where to load a generator that is not loaded yet; None chooses the best there is.
        on_step: sees every step and may stop the search; see `search`.

    Returns: `config.solutions` solutions for each picture, the best `score` first.

    Raises:
        PulseError: a picture, checkpoint or setting that cannot be used, and what to do.
    """
    image = picture if isinstance(picture, Tensor) else read_image(picture)
    if not isinstance(generator, Generator):
        generator, gaussian = load_with_fit(generator, gaussian, device=device)
    if gaussian is None:
        gaussian = gaussian_for(generator)
    return search(
        generator, image, gaussian, config, seed=seed, degradation=degradation, init_latent=init_latent, on_step=on_step
    )


def load_with_fit(
    source: Path | str,
    gaussian: LatentGaussian | None = None,
    mapping: Path | str | None = None,
    *,
    class_index: int | None = None,
    device: torch.device | str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Generator, LatentGaussian]:
    """A generator on its device, and its latent fit: given, shipped, cached beside the file, or made now.

    For a conditional generator the fit, and so the search, is of one class, or of all where that is None.

    Raises:
        CheckpointError: a file that cannot be used.
        SettingError: no such device.
    """
    where = best_device() if device is None else named_device(device)
    generator = load_generator(source, mapping, device=where)
    if gaussian is None:
        gaussian = gaussian_for(generator, class_index=class_index, on_progress=on_progress)
    return generator, gaussian

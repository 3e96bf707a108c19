"""PULSE: photo upsampling by searching the latent space of a frozen StyleGAN.

It invents a face of a person who does not exist and that downscales to the given picture.
It identifies nobody.

    from pulse_core import load_generator, fit_gaussian, search, downsample

Importing this package is cheap: torch is imported when one of the names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .checkpoints.loading import load_generator as load_generator
    from .degradations.bicubic import downsample as downsample
    from .errors import PulseError as PulseError
    from .latent_search.config import SearchConfig as SearchConfig
    from .latent_search.loop import search as search
    from .latents.gaussian import LatentGaussian as LatentGaussian
    from .latents.gaussian import fit_gaussian as fit_gaussian
    from .photographs import restore as restore
    from .pipeline import upscale as upscale

_HOMES = {
    "load_generator": "checkpoints.loading",
    "fit_gaussian": "latents.gaussian",
    "LatentGaussian": "latents.gaussian",
    "search": "latent_search.loop",
    "SearchConfig": "latent_search.config",
    "downsample": "degradations.bicubic",
    "upscale": "pipeline",
    "restore": "photographs",
    "PulseError": "errors",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

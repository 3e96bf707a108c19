"""PULSE: photo upsampling by searching the latent space of a frozen StyleGAN.

It invents a face of a person who does not exist, and whose picture downscales to the given one. It identifies nobody.

    from pulse_core import save_image, upscale

    best, *_ = upscale("face.png", seed=0)
    save_image(best.image, "out.png")

`upscale` takes a low-resolution face, `restore` a photograph. Both use the default generator with its shipped latent
fit and encoder. docs/api.md describes all names below. Importing the package is cheap: torch is imported when one of
the names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .degradations.base import Degradation as Degradation
    from .degradations.bicubic import downsample as downsample
    from .degradations.text import parse_degradation as parse_degradation
    from .errors import PulseError as PulseError
    from .faces.estimation import DegradationEstimate as DegradationEstimate
    from .faces.estimation import estimate_degradation as estimate_degradation
    from .faces.finding import FindSettings as FindSettings
    from .faces.pasting import PasteSettings as PasteSettings
    from .generators.base import Generator as Generator
    from .latent_search.config import PRESETS as PRESETS
    from .latent_search.config import SearchConfig as SearchConfig
    from .latent_search.loop import iter_search as iter_search
    from .latent_search.loop import search as search
    from .latent_search.solution import Solution as Solution
    from .latent_search.solution import StepState as StepState
    from .latent_search.solution import latent_from_solutions as latent_from_solutions
    from .latents.blending import blend as blend
    from .latents.fits import gaussian_for as gaussian_for
    from .latents.gaussian import LatentGaussian as LatentGaussian
    from .latents.gaussian import fit_gaussian as fit_gaussian
    from .latents.latent import Latent as Latent
    from .latents.sampling import sample as sample
    from .latents.sampling import synthesize as synthesize
    from .loading.conversion import save_generator as save_generator
    from .loading.load import load_generator as load_generator
    from .photographs import FaceStore as FaceStore
    from .photographs import Restored as Restored
    from .photographs import restore as restore
    from .pictures.images import read_image as read_image
    from .pictures.images import save_image as save_image
    from .pipeline import Target as Target
    from .pipeline import choose_targets as choose_targets
    from .pipeline import load_with_fit as load_with_fit
    from .pipeline import search_targets as search_targets
    from .pipeline import upscale as upscale

# Each module with its public names, in the order of docs/api.md.
_PUBLIC = {
    "pipeline": ("upscale", "Target", "choose_targets", "search_targets", "load_with_fit"),
    "photographs": ("restore", "Restored", "FaceStore"),
    "pictures.images": ("read_image", "save_image"),
    "latent_search.config": ("SearchConfig", "PRESETS"),
    "latent_search.solution": ("Solution", "StepState", "latent_from_solutions"),
    "latent_search.loop": ("search", "iter_search"),
    "loading.load": ("load_generator",),
    "loading.conversion": ("save_generator",),
    "generators.base": ("Generator",),
    "latents.fits": ("gaussian_for",),
    "latents.gaussian": ("LatentGaussian", "fit_gaussian"),
    "latents.latent": ("Latent",),
    "latents.sampling": ("sample", "synthesize"),
    "latents.blending": ("blend",),
    "degradations.base": ("Degradation",),
    "degradations.bicubic": ("downsample",),
    "degradations.text": ("parse_degradation",),
    "faces.estimation": ("estimate_degradation", "DegradationEstimate"),
    "faces.finding": ("FindSettings",),
    "faces.pasting": ("PasteSettings",),
    "errors": ("PulseError",),
}
_HOMES = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

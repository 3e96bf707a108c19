"""One cell of the table: a search and what its result scores."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from bench.memory import peak_mb, reset_peak
from bench.scorers.identity import Identity
from bench.scorers.niqe import niqe
from bench.scorers.realism import judge
from pulse_core.degradations import forward_operator
from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import ImageError
from pulse_core.generators import Generator
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latent_search.loop import search
from pulse_core.latents.gaussian import LatentGaussian

from .rows import settings
from .targets import Target, degradation, observe

RESIDUALS = ("residual_face", "residual_all")  # root mean squares that a solution may tell, colours in 0..1


@dataclass(frozen=True)
class Case:
    """A cell's place in the table."""

    target: str
    lr: int
    spoiling: str
    row: str
    seed: int

    @property
    def key(self) -> str:
        """Of the JSON file."""
        return "|".join(str(value) for value in asdict(self).values())


def measure(
    case: Case,
    target: Target,
    config: SearchConfig | None,
    generator: Generator,
    gaussian: LatentGaussian,
    identity: Identity | None,
) -> tuple[dict[str, Any], Tensor]:
    """The scores of one case and its picture, [3, H, W] in 0..1.

    l2 is what the search was after: the error against what it was given, in the light of the degradation, before any
    correction; clean_l2 is the returned picture's against the clean small image.
    """
    given, clean = observe(target, case.spoiling, case.lr)
    spoiled_by = degradation(case.spoiling, case.lr)
    device = next(generator.synthesis.parameters()).device
    reset_peak(device)
    started = time.perf_counter()
    own: dict[str, Any] = {}
    if config is None:
        image = F.interpolate(given, generator.size, mode="bicubic", align_corners=False).clamp(0, 1)[0]
    else:
        (found,) = search(generator, given, gaussian, config, seed=case.seed, degradation=spoiled_by)
        image = found.image
        own = {"l2": found.search_l2, "distance": found.distance, "steps": found.steps}
        own |= {name: float(share) for name in RESIDUALS if (share := getattr(found, name, None)) is not None}
    own |= {"seconds": time.perf_counter() - started, "peak_mb": peak_mb(device)}
    if spoiled_by is not None:
        own["floor"] = float(spoiled_by.noise_variance(given))
    return scores(case, target, image, given, clean, identity) | own | {"settings": settings(case.row)}, image


def scores(
    case: Case, target: Target, image: Tensor, given: Tensor, clean: Tensor, identity: Identity | None
) -> dict[str, Any]:
    """What does not depend on how the picture [3, H, W] was made."""
    error = downsample(image[None], size=(case.lr, case.lr)) - clean
    found: dict[str, Any] = {**asdict(case), "key": case.key, "kind": target.kind}
    found |= {"clean_l2": float(error.square().mean()), "worst": worst(case, image, given)}
    found |= {"niqe": _niqe(image, target), "true_niqe": _niqe(target.truth, target)}
    for prefix, picture in (("", image), ("true_", target.truth)):
        seen = _realism(picture, target)
        if seen is not None:
            found |= {f"{prefix}natural": seen[0], f"{prefix}features": " ".join(f"{x:.3f}" for x in seen[1].tolist())}
    if identity is not None:
        found["identity"] = Identity.distance(identity.descriptor(image), identity.descriptor(target.truth))
    return found


def worst(case: Case, image: Tensor, given: Tensor) -> float | None:
    """How far the written 8-bit picture [3, H, W], made small, is from the input [1, 3, lr, lr], of 255, where it is
    farthest: any pixel that counts, any colour. None where the input is noisy, and should not be agreed with.
    """
    spoiled_by = degradation(case.spoiling, case.lr)
    operator = forward_operator(spoiled_by, (case.lr, case.lr), (image.shape[-2], image.shape[-1]))
    seen = operator.project(given)
    if bool((operator.noise_variance(seen) > 0).any()):
        return None
    written = (image[None].clamp(0, 1) * 255).round() / 255
    error = (operator.forward(written) - seen).abs()
    trust = operator.weight_map(seen)
    return 255 * float((error if trust is None else error * (trust > 0)).max())


def _niqe(image: Tensor, target: Target) -> float | None:
    """None for a picture that is too small or too smooth to be judged."""
    try:
        return niqe(_as_in_the_file(image, target))
    except ImageError:
        return None


def _realism(image: Tensor, target: Target) -> tuple[float, Tensor] | None:
    """None for a picture that is too small to be judged."""
    try:
        return judge().look(_as_in_the_file(image, target))
    except ImageError:
        return None


def _as_in_the_file(image: Tensor, target: Target) -> Tensor:
    """At the size that the truth has in its file, so that neither is judged by pixels that were made up."""
    if image.shape[-1] == target.side:
        return image
    return downsample(image, size=(target.side, target.side)).clamp(0, 1)

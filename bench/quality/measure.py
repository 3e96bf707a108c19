"""One cell of the table: a search and the scores of its result."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from bench.memory import peak_mb, reset_peak
from bench.scorers.identity import Identity
from bench.scorers.niqe import niqe
from bench.scorers.realism import classifier
from pulse_core.degradations import forward_operator
from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import ImageError
from pulse_core.generators import Generator
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latent_search.loop import search
from pulse_core.latents.gaussian import LatentGaussian

from .rows import settings
from .targets import Target, degradation, degraded_and_clean

RESIDUALS = ("residual_face", "residual_all")  # attributes of a solution: root mean squares, colours in 0..1


@dataclass(frozen=True)
class Case:
    """The place of a cell in the table. spoiling: a name of a degradation, or "clean"."""

    target: str
    lr: int
    spoiling: str
    row: str
    seed: int

    @property
    def key(self) -> str:
        """The key of the cell in the JSON file."""
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

    l2: the search_l2 of the solution, against the degraded input and before the residual correction.
    clean_l2: the error of the returned picture against the clean low-resolution picture.
    """
    degraded, clean = degraded_and_clean(target, case.spoiling, case.lr)
    operator = degradation(case.spoiling, case.lr)
    device = next(generator.synthesis.parameters()).device
    reset_peak(device)
    started = time.perf_counter()
    own: dict[str, Any] = {}
    if config is None:
        image = F.interpolate(degraded, generator.size, mode="bicubic", align_corners=False).clamp(0, 1)[0]
    else:
        (found,) = search(generator, degraded, gaussian, config, seed=case.seed, degradation=operator)
        image = found.image
        own = {"l2": found.search_l2, "distance": found.distance, "steps": found.steps}
        own |= {name: float(share) for name in RESIDUALS if (share := getattr(found, name, None)) is not None}
    own |= {"seconds": time.perf_counter() - started, "peak_mb": peak_mb(device)}
    if operator is not None:
        own["floor"] = float(operator.noise_variance(degraded))
    return scores(case, target, image, degraded, clean, identity) | own | {"settings": settings(case.row)}, image


def scores(
    case: Case, target: Target, image: Tensor, degraded: Tensor, clean: Tensor, identity: Identity | None
) -> dict[str, Any]:
    """The scores of a picture [3, H, W], by whatever method it was made."""
    error = downsample(image[None], size=(case.lr, case.lr)) - clean
    found: dict[str, Any] = {**asdict(case), "key": case.key, "kind": target.kind}
    found |= {"clean_l2": float(error.square().mean()), "worst": worst(case, image, degraded)}
    found |= {"niqe": _niqe(image, target), "true_niqe": _niqe(target.truth, target)}
    for prefix, picture in (("", image), ("true_", target.truth)):
        realism = _realism(picture, target)
        if realism is not None:
            score, features = realism
            found |= {f"{prefix}natural": score, f"{prefix}features": " ".join(f"{x:.3f}" for x in features.tolist())}
    if identity is not None:
        found["identity"] = Identity.distance(identity.descriptor(image), identity.descriptor(target.truth))
    return found


def worst(case: Case, image: Tensor, degraded: Tensor) -> float | None:
    """The largest error of A(8-bit picture [3, H, W]) against the input [1, 3, lr, lr], of 255.

    Pixels of weight 0 are ignored. None if the input is noisy, as it should not be matched exactly.
    """
    size = (image.shape[-2], image.shape[-1])
    operator = forward_operator(degradation(case.spoiling, case.lr), (case.lr, case.lr), size)
    projected = operator.project(degraded)
    if bool((operator.noise_variance(projected) > 0).any()):
        return None
    written = (image[None].clamp(0, 1) * 255).round() / 255
    error = (operator.forward(written) - projected).abs()
    weights = operator.weight_map(projected)
    return 255 * float((error if weights is None else error * (weights > 0)).max())


def _niqe(image: Tensor, target: Target) -> float | None:
    """None for a picture that is too small or too smooth for NIQE."""
    try:
        return niqe(_as_in_the_file(image, target))
    except ImageError:
        return None


def _realism(image: Tensor, target: Target) -> tuple[float, Tensor] | None:
    """None for a picture that is too small for the classifier."""
    try:
        return classifier().evaluate(_as_in_the_file(image, target))
    except ImageError:
        return None


def _as_in_the_file(image: Tensor, target: Target) -> Tensor:
    """Downscaled to the size of the truth's file, so that enlarging the truth does not affect its scores."""
    if image.shape[-1] == target.side:
        return image
    return downsample(image, size=(target.side, target.side)).clamp(0, 1)

"""One cell of the table: a search and what its result scores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from bench.memory import forget_peak, peak_mb
from bench.scorers.identity import Identity
from bench.scorers.niqe import niqe
from pulse_core.degradations import through
from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import ImageError
from pulse_core.gaussian import LatentGaussian
from pulse_core.generators import Generator
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latent_search.consistency import correct
from pulse_core.latent_search.loop import search

from .rows import EXACT, settings
from .targets import Target, degradation, observe


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
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Scores and picture [3, H, W] of the case; of a recommended search also with its error taken off (EXACT).

    Without a config it is the bicubic enlargement. l2 and distance are the search's own; consistency is told
    against the clean small image.
    """
    given, clean = observe(target, case.spoiling, case.lr)
    spoiled_by = degradation(case.spoiling, case.lr)
    device = next(generator.synthesis.parameters()).device
    forget_peak(device)
    started = time.perf_counter()
    own: dict[str, Any] = {}
    if config is None:
        image = F.interpolate(given, generator.size, mode="bicubic", align_corners=False).clamp(0, 1)[0]
    else:
        (found,) = search(generator, given, gaussian, config, seed=case.seed, degradation=spoiled_by)
        image = found.image
        own = {"l2": found.search_l2, "distance": found.distance, "steps": found.steps}
    own |= {"seconds": time.perf_counter() - started, "peak_mb": peak_mb(device)}
    if spoiled_by is not None:
        own["floor"] = float(spoiled_by.noise_variance(given))
    yield _scores(case, target, image, clean, identity) | own, image
    if case.row == "recommended":
        operator = through(spoiled_by, (case.lr, case.lr), generator.size)
        seen = operator.observe(given)
        exact = correct(image[None], seen, operator, 1.0, operator.trust(seen))[0]
        yield _scores(replace(case, row=EXACT), target, exact, clean, identity) | own, exact


def _scores(case: Case, target: Target, image: Tensor, clean: Tensor, identity: Identity | None) -> dict[str, Any]:
    """What does not depend on how the picture was made."""
    error = downsample(image[None], size=(case.lr, case.lr)) - clean
    scores: dict[str, Any] = {**asdict(case), "key": case.key, "settings": settings(case.row), "kind": target.kind}
    scores |= {"clean_l2": float(error.square().mean())}
    scores |= {"niqe": _niqe(image, target), "true_niqe": _niqe(target.truth, target)}
    if identity is not None:
        scores["identity"] = Identity.distance(identity.descriptor(image), identity.descriptor(target.truth))
    return scores


def _niqe(image: Tensor, target: Target) -> float | None:
    """At the size that the truth has in its file; None for a picture that is too smooth to be judged."""
    if image.shape[-1] != target.side:
        image = downsample(image, size=(target.side, target.side)).clamp(0, 1)
    try:
        return niqe(image)
    except ImageError:
        return None

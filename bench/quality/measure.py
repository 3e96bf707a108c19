"""One cell of the table: a search and what its result scores."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.scorers.identity import Identity
from bench.scorers.niqe import niqe
from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import ImageError
from pulse_core.gaussian import LatentGaussian
from pulse_core.generators import Generator
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latent_search.loop import search

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
) -> tuple[dict[str, Any], Tensor]:
    """The scores, and the picture [3, H, W]. Without a config it is the bicubic enlargement.

    success, consistency and distance are the search's own; consistency is told against the clean small image, too.
    """
    given, clean = observe(target, case.spoiling, case.lr)
    _forget_peak()
    started = time.perf_counter()
    scores: dict[str, Any] = {**asdict(case), "kind": target.kind}
    if config is None:
        image = F.interpolate(given, generator.size, mode="bicubic", align_corners=False).clamp(0, 1)[0]
    else:
        (found,) = search(
            generator, given, gaussian, config, seed=case.seed, degradation=degradation(case.spoiling, case.lr)
        )
        image = found.image
        scores |= {"l2": found.search_l2, "distance": found.distance, "steps": found.steps}
    scores["seconds"] = time.perf_counter() - started
    scores["peak_mb"] = _peak_mb()
    clean_error = downsample(image[None], size=(case.lr, case.lr)) - clean
    scores |= {"clean_l2": float(clean_error.square().mean()), "niqe": _niqe(image), "true_niqe": _niqe(target.truth)}
    if identity is not None:
        scores["identity"] = Identity.distance(identity.descriptor(image), identity.descriptor(target.truth))
    return scores, image


def _niqe(image: Tensor) -> float | None:
    """None for a picture that is too smooth to be judged."""
    with torch.no_grad():
        try:
            return niqe(image)
        except ImageError:
            return None


def _forget_peak() -> None:
    """Linux only: lets the process's peak of memory begin anew."""
    if sys.platform.startswith("linux"):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float | None:
    """The peak of the process's memory since `_forget_peak`."""
    if not sys.platform.startswith("linux"):
        return None
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

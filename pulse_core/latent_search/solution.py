"""What a search is asked for, what it shows on the way, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

FAR_DISTANCE = 1.7  # distance from the prior beyond which a result is told to be unlike the generator's own images
LARGE_RESIDUAL = (
    0.1  # residual in the face beyond which a result says so: glasses that are not drawn, a statue, a drawing
)


@dataclass(frozen=True)
class Job:
    """One solution to look for: which target, from which seed."""

    index: int
    seed: int


@dataclass(frozen=True)
class Solution:
    """What one job found: its best iterate, found or not.

    image: [C, H, W] in 0..1. downscaled: this very image, degraded, [C, h, w].
    residual: [C, h, w], what the generator's own image lacks of the target; `fidelity` puts it into `image`.
    ws: [num_ws, w_dim] and noise: one [1, H, W] a layer; together they render the generator's own image.
    l2: mean squared error of `downscaled` against the target. worst: the largest error of a pixel, in steps of 8 bits,
        of the picture as it is written; at most 1 is exact. worst_at: (column, row) of that pixel of the target.
    search_l2: mean squared error of the generator's own image, in the face.
    residual_face, residual_all: root mean square of the residual in the face and everywhere, colours in 0..1.
    tolerance: the error up to which it counts as found: eps, or the noise of the degradation where that is more.
    converged: search_l2 <= tolerance, and exact where that was asked for and the input has no noise.
    distance: of the latent from the prior, about 1 for what the generator draws (LatentGaussian.distance).
    best_step: the step of the best iterate; steps: how many were taken.
    """

    index: int
    seed: int
    image: Tensor
    downscaled: Tensor
    residual: Tensor
    ws: Tensor
    noise: tuple[Tensor, ...]
    l2: float
    search_l2: float
    worst: float
    worst_at: tuple[int, int]
    residual_face: float
    residual_all: float
    tolerance: float
    converged: bool
    distance: float
    best_step: int
    steps: int

    def each_noise(self, change: Callable[[Tensor], Tensor]) -> Solution:
        """With its noise maps changed, for example moved to a device."""
        return replace(self, noise=tuple(change(noise) for noise in self.noise))

    @property
    def far(self) -> bool:
        """Whether the result is unlike what the generator draws: the input may be no face that it knows."""
        return self.distance > FAR_DISTANCE

    @property
    def summary(self) -> str:
        """How the search ended, in one line."""
        found = "found" if self.converged else "not found within eps"
        exact = (
            "exact"
            if self.max_error <= 1
            else f"worst pixel off by {self.max_error:.1f} of 255, at {self.max_error_at}"
        )
        line = f"L2 {self.l2:.5f} ({exact}), {found}, residual {self.residual_face:.3f} in the face, "
        line += f"{self.residual_all:.3f} in all"
        line += "; much of the face is not the generator's" if self.residual_face > LARGE_RESIDUAL else ""
        return line + ("; unlike the generator's own faces" if self.is_far else "")

    @property
    def score(self) -> float:
        """What several solutions of one image are ranked by, smaller first: how unlike the generator's own images
        it is (`distance`), and how much of the face is residual, in times of `tolerance`.
        """
        return self.distance + self.search_l2 / max(self.tolerance, 1e-12)

    def metadata(self, eps: float) -> dict[str, Any]:
        """What every report says of a result."""
        return {
            "seed": self.seed,
            "l2": self.l2,
            "search_l2": self.search_l2,
            "eps": eps,
            "converged": self.converged,
            "max_error": round(self.max_error, 3),
            "max_error_at": list(self.max_error_at),
            "residual_face": round(self.residual_face, 4),
            "residual_all": round(self.residual_all, 4),
            "distance": round(self.distance, 3),
            "is_far": self.is_far,
            "large_residual_face": self.residual_face > LARGE_RESIDUAL,
            "summary": self.summary,
            "search_score": round(self.score, 3),
            "steps": self.steps,
        }


def ranking(solutions: Sequence[Solution]) -> list[int]:
    """Where each image's solutions stand by their `score`, the images in their order."""
    return sorted(range(len(solutions)), key=lambda row: (solutions[row].index, solutions[row].score))


@dataclass(frozen=True)
class StepState:
    """What the callback sees after each evaluation. Tensors are views of the search's own: look, don't keep.

    step: 0 is the start, before any update; steps: the last one.
    done, total: solutions finished and asked for.
    is_full: whether the full picture was rendered at this step, as at the first and the last. Between such steps
        nothing should be read from the device: it would have to be waited for.
    made, planned: evaluations for these jobs, trials of candidates included.
    image: [B, C, H, W] in 0..1, the generator's own, of the last full evaluation; l2: [B], in the face, between full
        evaluations an estimate; best_l2: [B], the best one's; tolerance: [B], up to which they count as found.
    loss: [B] and terms: [B] each, unweighted, of the image before its colours are clamped, as published.
    latent: [B, num_ws or 1, w_dim], the first variable. noise: one [B, 1, H, W] a layer.
    learning_rate: of the coming step.
    """

    jobs: tuple[Job, ...]
    done: int
    total: int
    step: int
    steps: int
    made: int
    planned: int
    learning_rate: float
    terms: dict[str, Tensor]
    loss: Tensor
    l2: Tensor
    best_l2: Tensor
    tolerance: Tensor
    image: Tensor
    is_full: bool
    latent: Tensor
    noise: tuple[Tensor, ...]

    @property
    def means(self) -> tuple[float, float, float]:
        """The means of loss, l2 and best_l2; the CPU waits for them, once."""
        loss, l2, best = torch.stack([each.mean() for each in (self.loss, self.l2, self.best_l2)]).tolist()
        return loss, l2, best

    @property
    def progress(self) -> tuple[int, int]:
        """(evaluations made, evaluations in all) over all solutions that were asked for."""
        return self.done * self.planned + min(self.made, self.planned) * len(self.jobs), self.total * self.planned


OnStep = Callable[[StepState], "bool | None"]

"""What goes in and out of a search: a job, the state of a step, a solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..generators import Generator
from ..latents.latent import Latent

FAR_DISTANCE = 1.7  # from the prior, beyond which a result is unlike the generator's own images
LARGE_RESIDUAL = 0.1  # in the face: glasses that are not drawn, a statue, a drawing


@dataclass(frozen=True)
class Job:
    """One solution to look for: for which target, from which seed."""

    index: int
    seed: int


@dataclass(frozen=True)
class Solution:
    """The result of one job: its best iterate, converged or not.

    image: [C, H, W] in 0..1. downscaled: A(image), [C, h, w].
    residual: [C, h, w], the target minus A of the generator's own image; `fidelity` adds it to `image`.
    ws: [num_ws, w_dim] and noise: one [1, H, W] a layer; together they render the generator's own image.
    l2: mean squared error of `downscaled`. search_l2: that of the generator's own image, in the face.
    max_error: the largest error of a pixel of the picture as written, in 8-bit steps; at most 1 is exact.
    max_error_at: (column, row) of that pixel of the target.
    residual_face, residual_all: root mean square of the residual in the face and everywhere, colours in 0..1.
    tolerance: the error up to which it counts as found: eps, or the noise variance of the target if that is larger.
    converged: search_l2 <= tolerance, and exact where fidelity asks for it and the target has no noise.
    distance: of the latent from the prior, about 1 for the generator's own images (LatentGaussian.distance).
    best_step: the step of the best iterate. steps: how many were taken.
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
    max_error: float
    max_error_at: tuple[int, int]
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
    def is_far(self) -> bool:
        """Whether the result is unlike the generator's own images: the target may not be a face."""
        return self.distance > FAR_DISTANCE

    @property
    def summary(self) -> str:
        """One line for people."""
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
        """Ranks the solutions of one target, smaller is better: `distance` plus search_l2 relative to `tolerance`."""
        return self.distance + self.search_l2 / max(self.tolerance, 1e-12)

    def metadata(self, eps: float) -> dict[str, Any]:
        """What reports and saved pictures say of it, as JSON."""
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
    """Row numbers: target by target, and the solutions of each by their `score`."""
    return sorted(range(len(solutions)), key=lambda row: (solutions[row].index, solutions[row].score))


def latent_from_solutions(
    solutions: Sequence[Solution], generator: Generator, records: Sequence[Mapping[str, Any]]
) -> Latent:
    """The latents and noise maps of a search's solutions."""
    return Latent(
        torch.stack([solution.ws for solution in solutions]),
        tuple(torch.stack(layer) for layer in zip(*(solution.noise for solution in solutions), strict=True)),
        generator.name,
        generator.content_hash,
        tuple(dict(record) for record in records),
    )


@dataclass(frozen=True)
class StepState:
    """What the callback gets after each evaluation. Tensors belong to the search: clone what you keep.

    step: 0 is before any update. steps: the last one.
    done, total: solutions finished, and asked for.
    is_full: whether this step rendered at full resolution, as the first and the last do. Read nothing from the device
        at other steps: the CPU would wait for it.
    made, planned: evaluations for these jobs, trials of candidates included.
    image: [B, C, H, W] in 0..1, the generator's own, of the last full evaluation. l2: [B], in the face, an estimate
        between full evaluations. best_l2: [B]. tolerance: [B].
    loss: [B], the objective. terms: [B] each, unweighted, before colours are clamped, as published.
    latent: [B, num_ws or 1, w_dim], the first variable of the prior. noise: one [B, 1, H, W] a layer.
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

"""From the best iterate of a search to its solution: the residual goes into the picture, and errors are measured."""

from __future__ import annotations

import torch
from torch import Tensor

from ..degradations import Degradation
from ..errors import SettingError
from ..latents.gaussian import LatentGaussian
from .best import Best
from .config import SearchConfig
from .losses import mean_squared_error
from .residual import complete
from .solution import Job, Solution
from .termination import Termination
from .weights import PixelWeights, weight_map


def solution_of(
    row: int,
    job: Job,
    best: Best,
    target: Tensor,
    degradation: Degradation,
    gaussian: LatentGaussian,
    weights: PixelWeights,
    termination: Termination,
    config: SearchConfig,
    steps: int,
) -> Solution:
    """The solution of one image of a batch.

    Args:
        row: of the image in the batch. target: [B, C, h, w], of the batch. steps: that were taken.

    Raises:
        SettingError: no iterate had a finite loss.
    """
    if best.step[row] < 0:
        raise SettingError(
            f"The search for image {job.index} with seed {job.seed} met no finite loss.",
            "settings that keep the image finite.",
            "lower the learning rate; if even the first step fails, the generator's weights are damaged.",
        )
    one = slice(row, row + 1)
    target, own = target[one], None if weights.degradation is None else weights.degradation[one]
    completed = complete(best.image[one], target, degradation, weights.face, own, config.fidelity)
    with torch.no_grad():
        downscaled = degradation.forward(completed.picture)
        l2 = float(mean_squared_error(downscaled, target, own))
    max_error, max_error_at = _max_error(completed.picture, target, degradation, own)
    search_l2 = float(best.l2[row])
    return Solution(
        index=job.index,
        seed=job.seed,
        image=completed.picture[0],
        downscaled=downscaled[0],
        residual=completed.residual[0],
        ws=best.ws[row].clone(),
        noise=tuple(noise[row].clone() for noise in best.noise),
        l2=l2,
        search_l2=search_l2,
        max_error=max_error,
        max_error_at=max_error_at,
        residual_face=_rms(completed.residual, weight_map(weights.face, 0.0, own)),
        residual_all=_rms(completed.residual, own),
        tolerance=float(termination.tolerance[row]),
        converged=termination.converged(row, search_l2, max_error),
        distance=float(gaussian.distance(best.ws[row])),
        best_step=int(best.step[row]),
        steps=steps,
    )


def _rms(residual: Tensor, weight: Tensor | None) -> float:
    return float(mean_squared_error(residual, torch.zeros_like(residual), weight)) ** 0.5


@torch.no_grad()
def _max_error(
    picture: Tensor, target: Tensor, degradation: Degradation, weight: Tensor | None
) -> tuple[float, tuple[int, int]]:
    """The largest error of a pixel of the 8-bit picture's degradation, in 8-bit steps, and its (column, row)."""
    error = (degradation.forward((picture * 255).round() / 255) - target).abs()
    error = (error if weight is None else error * weight).amax(1)[0]
    place = int(error.argmax())
    return 255 * float(error.max()), (place % error.shape[1], place // error.shape[1])

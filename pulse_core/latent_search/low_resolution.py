"""Low-resolution evaluations between two of the full picture.

A step needs only how the measurement changes with the latents, and a small picture says little of the fine layers,
where nearly all of the time goes. So most steps render a small picture, for which finer layers work on averages
(SynthesisNetwork.render_coarse), and add what it lacked at the last full evaluation:

    A(G(z)) ~ A(G_low(z)) + [A(G(z0)) - A(G_low(z0))]

In the first half of the steps it has the target's size, then twice that. Its gradient points within some degrees of
the true one (bench/RESULTS.md). Where a full evaluation shows that the small pictures since the last one missed half of
what changed, all that follow are full.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..degradations import Degradation
from ..generators import Generator
from ..images import to_picture

_SIZES = ((0.5, 1), (1.0, 2))  # until this share of the steps, so many times the target's size, at least
_WORTH = 4  # times smaller than the full picture, at least: else it saves nothing
_MISSED = 0.5  # the share of what changed, squared, that may have been missed


class LowResolution:
    """Measures a small picture, and corrects it by the last full evaluation.

    Args:
        degradation: what the full picture is measured by.
        target_size: (h, w) of the measurement.

    Attributes:
        is_worth_it: whether the generator has a picture that is much smaller, and it has told enough so far, of each
            image of the batch.
    """

    def __init__(self, generator: Generator, degradation: Degradation, target_size: tuple[int, int]):
        self._generator, self._degradation, self._target = generator, degradation, max(target_size)
        self._side = 0
        self._lacking = self._seen = torch.empty(0)
        largest = _power_of_two(_SIZES[-1][1] * self._target)
        self.is_worth_it = generator.synthesis.has_coarse and _WORTH * largest <= generator.img_resolution

    def choose(self, progress: float) -> bool:
        """Chooses the size for this share of the steps; True where it is a new one, which needs a full evaluation."""
        times = next(times for until, times in _SIZES if progress < until or until == 1)
        side = _power_of_two(times * self._target)
        if side == self._side:
            return False
        self._side, self._seen = side, torch.empty(0)  # what was seen at another size says nothing of this one
        return True

    def measure(self, ws: Tensor, noise: Sequence[Tensor], full: Tensor | None) -> Tensor:
        """[B, C, h, w], differentiable.

        Args:
            full: the measurement of the full picture of these very ws and noise, where that was rendered; the first
                time, and after a change of size, it must be.
        """
        image = to_picture(self._generator.synthesis.render_coarse(ws, noise, self._side))
        if not self._degradation.takes_any_size:
            image = F.interpolate(image, self._generator.size)
        measured = self._degradation.measure(image)
        if full is not None:
            self._anchor(full, measured.detach())
        return measured + self._lacking

    def _anchor(self, full: Tensor, measured: Tensor) -> None:
        lacking = full - measured
        if self._seen.numel():
            missed, changed = (
                (now - before).square().flatten(1).sum(1)
                for now, before in ((lacking, self._lacking), (full, self._seen))
            )
            self.is_worth_it = bool((missed <= _MISSED * changed).all())
        self._lacking, self._seen = lacking, full


def _power_of_two(side: int) -> int:
    return next(2**power for power in range(32) if 2**power >= side)

"""Cheap looks between two at the whole picture.

A step needs only how the measurement changes with the latents, and a small picture says little of the fine layers,
where nearly all of the time goes. So most steps look at a picture of about twice the target's size, for which finer
layers work on averages (SynthesisNetwork.render_coarse), and add what it lacked at the last whole look:

    measured(z) = coarse(z) + [whole(z0) - coarse(z0)]

Its gradient points within some degrees of the true one (bench/RESULTS.md). What counts as found is only ever decided
by whole looks; and where one shows that the coarse looks since the last did not see the half of what changed, all that
follow are whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..degradations import Degradation
from ..generators import Generator
from ..images import to_picture

_TIMES = 2  # the target's size, at least
_WORTH = 4  # times smaller than the whole picture, at least: else it saves nothing
_MISSED = 0.5  # the share of what changed, squared, that may have been missed


class CoarseLook:
    """Measures a coarse picture, and corrects it by the last whole look.

    Args:
        degradation: what the whole picture is measured by.
        target_size: (h, w) of the measurement.

    Attributes:
        is_worth_it: whether the generator has a picture that is much smaller, and it has told enough so far, of each
            image of the batch.
    """

    def __init__(self, generator: Generator, degradation: Degradation, target_size: tuple[int, int]):
        self._generator, self._degradation = generator, degradation
        self._side = next(side for side in (2**power for power in range(32)) if side >= _TIMES * max(target_size))
        self._lacking = self._seen = torch.empty(0)
        self.is_worth_it = generator.synthesis.has_coarse and _WORTH * self._side <= generator.img_resolution

    def measure(self, ws: Tensor, noise: Sequence[Tensor], whole: Tensor | None) -> Tensor:
        """[B, C, h, w], differentiable.

        Args:
            whole: the measurement of the whole picture of these very ws and noise, where that was looked at; the
                first time it must be.
        """
        image = to_picture(self._generator.synthesis.render_coarse(ws, noise, self._side))
        if not self._degradation.takes_any_size:
            image = F.interpolate(image, self._generator.size)
        measured = self._degradation.measure(image)
        if whole is not None:
            lacking = whole - measured.detach()
            if self._seen.numel():
                missed, changed = (
                    _power(now - before) for now, before in ((lacking, self._lacking), (whole, self._seen))
                )
                self.is_worth_it = bool((missed <= _MISSED * changed).all())
            self._lacking, self._seen = lacking, whole
        return measured + self._lacking


def _power(x: Tensor) -> Tensor:
    """[B]."""
    return x.square().flatten(1).sum(1)

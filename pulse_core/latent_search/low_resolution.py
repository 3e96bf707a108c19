"""Low-resolution evaluations between two at full resolution.

A step needs only how the measurement changes with the latents, and a small target says little of the fine layers,
where nearly all of the time goes. So most steps render a small image, for which finer layers work on averages
(SynthesisNetwork.render_low_resolution), and add what it lacked at the last full evaluation:

    A(G(z)) ~ A(G_low(z)) + [A(G(z0)) - A(G_low(z0))]

In the first half of the steps the image has the target's size, then twice that. The gradient is within some degrees of
the true one (bench/RESULTS.md). Where a full evaluation shows that the small images since the last one missed half of
the change, those that follow have twice the target's size at once; where those miss as much, all that follow are full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto

import torch
import torch.nn.functional as F
from torch import Tensor

from ..degradations import Degradation
from ..generators import Generator
from ..latents.gaussian import LatentGaussian
from ..pictures.images import to_picture
from . import precision

_SIZES = ((0.5, 1), (1.0, 2))  # until this share of the steps, so many times the target's size (bench/TRIED.md)
_WORTH = 4  # times smaller than the full image, at least: else it saves nothing
_MISSED = 0.5  # the share of the squared change that may be missed


class Plan(Enum):
    """How a step is evaluated: FULL, LOW, or ANCHOR: both, where the full one corrects the low ones that follow."""

    FULL = auto()
    ANCHOR = auto()
    LOW = auto()


class LowResolution:
    """A(G_low(w, n)), corrected by the last full evaluation.

    Args:
        gaussian: of the generator's latents; precision.py tries 16-bit features on samples of it.
        degradation: the forward operator of the full image.
        target: [B, C, h, w]; only its shape, dtype and device count.

    Attributes:
        side: of the small image, pixels; 0 before the first `plan`.
        is_worth_it: whether the generator can render a much smaller image, and that has missed little so far for any
            image of the batch.
    """

    def __init__(self, generator: Generator, gaussian: LatentGaussian, degradation: Degradation, target: Tensor):
        self._generator, self._gaussian, self._degradation = generator, gaussian, degradation
        self._network, self._target = generator.synthesis, max(target.shape[-2:])
        # at fixed addresses, as captured evaluations read them
        self._correction, self._full = torch.zeros_like(target), torch.zeros_like(target)
        self._is_anchor = torch.zeros((), dtype=torch.bool, device=target.device)
        self.restart()

    def restart(self) -> None:
        """For other targets of the same shape."""
        self.side = 0
        self._size, self._least = 0, 0  # indices of _SIZES: of this step, and the first that has not missed too much
        self._last_anchor: tuple[Tensor, Tensor] | None = None  # correction and full measurement at the last anchor
        self._is_anchor.fill_(False)
        largest = _power_of_two(_SIZES[-1][1] * self._target)
        self.is_worth_it = (
            self._generator.synthesis.has_low_resolution and _WORTH * largest <= self._generator.img_resolution
        )

    def plan(self, step: int, steps: int, full_every: int) -> Plan:
        """How a step with a gradient is evaluated; chooses `side`."""
        if full_every == 1 or not self.is_worth_it:
            return Plan.FULL
        is_new_size = self.choose_side(step / steps)
        return Plan.ANCHOR if is_new_size or step % full_every == 0 else Plan.LOW

    def choose_side(self, progress: float) -> bool:
        """For this share of the steps; True where it changes, as then the correction must be measured anew."""
        by_progress = next(index for index, (until, _) in enumerate(_SIZES) if progress < until or until == 1)
        self._size = max(by_progress, self._least)
        side = _power_of_two(_SIZES[self._size][1] * self._target)
        if side == self.side:
            return False
        self.side, self._last_anchor = side, None  # a correction of another size does not hold
        self._network = precision.network_for(self._generator.synthesis, self._gaussian, side)
        return True

    def forward(self, ws: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """[B, C, h, w], differentiable; inside `anchored` equal to the full measurement."""
        image = to_picture(precision.render(self._network, ws, noise, self.side))
        if not self._degradation.takes_any_size:
            image = F.interpolate(image, self._generator.size)
        measured = self._degradation.forward(image)
        with torch.no_grad():
            self._correction.copy_(torch.where(self._is_anchor, self._full - measured, self._correction))
        return measured + self._correction

    @contextmanager
    def anchored(self, full: Tensor | None) -> Iterator[None]:
        """Around a `forward` of the same ws and noise, for which full [B, C, h, w] is the full measurement.

        Where the small images missed too much, sets `is_worth_it` or the size of the next ones, for which the CPU waits
        for the device. None changes nothing; the first time, and after a change of size, there must be one.
        """
        if full is None:
            yield
            return
        self._full.copy_(full)
        self._is_anchor.fill_(True)
        yield
        self._is_anchor.fill_(False)
        now = self._correction.clone(), self._full.clone()
        if self._last_anchor is not None:
            missed, changed = (
                (new - old).square().flatten(1).sum(1) for new, old in zip(now, self._last_anchor, strict=True)
            )
            if not bool((missed <= _MISSED * changed).all()):
                self._least = self._size + 1
                self.is_worth_it = self._least < len(_SIZES)
        self._last_anchor = now


def _power_of_two(side: int) -> int:
    return next(2**power for power in range(32) if 2**power >= side)

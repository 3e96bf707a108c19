"""Low-resolution evaluations between two of the full picture.

A step needs only how the measurement changes with the latents, and a small picture says little of the fine layers,
where nearly all of the time goes. So most steps render a small picture, for which finer layers work on averages
(SynthesisNetwork.render_low_resolution), and add what it lacked at the last full evaluation:

    A(G(z)) ~ A(G_low(z)) + [A(G(z0)) - A(G_low(z0))]

In the first half of the steps it has the target's size, then twice that. Its gradient points within some degrees of
the true one (bench/RESULTS.md). Where a full evaluation shows that the small pictures since the last one missed half of
what changed, all that follow are full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from ..degradations import Degradation
from ..generators import Generator
from ..latents.gaussian import LatentGaussian
from ..pictures.images import to_picture
from . import precision

_SIZES = ((0.5, 1), (1.0, 2))  # until this share of the steps, so many times the target's size, at least
_WORTH = 4  # times smaller than the full picture, at least: else it saves nothing
_MISSED = 0.5  # the share of what changed, squared, that may have been missed


class LowResolution:
    """Measures a small picture, and corrects it by the last full evaluation.

    Args:
        gaussian: of the generator's latents; a number type for the features is tried on draws of it (precision.py).
        degradation: what the full picture is measured by.
        target: [B, C, h, w]; only its shape, type and device count.

    Attributes:
        side: of the small picture, pixels; 0 before the first `choose`.
        is_worth_it: whether the generator has a picture that is much smaller, and it has told enough so far, of each
            image of the batch.
    """

    def __init__(self, generator: Generator, gaussian: LatentGaussian, degradation: Degradation, target: Tensor):
        self._generator, self._gaussian, self._degradation = generator, gaussian, degradation
        self._network, self._target = generator.synthesis, max(target.shape[-2:])
        # at fixed addresses, as a captured step reads them
        self._lacking, self._full = torch.zeros_like(target), torch.zeros_like(target)
        self._anchors = torch.zeros((), dtype=torch.bool, device=target.device)
        self.restart()

    def restart(self) -> None:
        """For other targets of the same shape."""
        self.side = 0
        self._seen: tuple[Tensor, Tensor] | None = None  # what lacked, and the full measurement, at the last anchor
        self._anchors.fill_(False)
        largest = _power_of_two(_SIZES[-1][1] * self._target)
        self.is_worth_it = (
            self._generator.synthesis.has_low_resolution and _WORTH * largest <= self._generator.img_resolution
        )

    def choose(self, progress: float) -> bool:
        """Chooses the size for this share of the steps; True where it is a new one, which needs a full evaluation."""
        times = next(times for until, times in _SIZES if progress < until or until == 1)
        side = _power_of_two(times * self._target)
        if side == self.side:
            return False
        self.side, self._seen = side, None  # what was seen at another size says nothing of this one
        self._network = precision.network_for(self._generator.synthesis, self._gaussian, side)
        return True

    def forward(self, ws: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """[B, C, h, w], differentiable; the measurement of the full picture where `anchored` is entered."""
        image = to_picture(precision.render(self._network, ws, noise, self.side))
        if not self._degradation.takes_any_size:
            image = F.interpolate(image, self._generator.size)
        measured = self._degradation.forward(image)
        with torch.no_grad():
            self._lacking.copy_(torch.where(self._anchors, self._full - measured, self._lacking))
        return measured + self._lacking

    @contextmanager
    def anchored(self, full: Tensor | None) -> Iterator[None]:
        """Around a `measure`: full [B, C, h, w] is the measurement of the full picture of the same ws and noise.

        Sets `is_worth_it`, for which the CPU waits for the device. None does nothing; the first time, and after a
        change of size, there must be one.
        """
        if full is None:
            yield
            return
        self._full.copy_(full)
        self._anchors.fill_(True)
        yield
        self._anchors.fill_(False)
        now = self._lacking.clone(), self._full.clone()
        if self._seen is not None:
            missed, changed = ((new - old).square().flatten(1).sum(1) for new, old in zip(now, self._seen, strict=True))
            self.is_worth_it = bool((missed <= _MISSED * changed).all())
        self._seen = now


def _power_of_two(side: int) -> int:
    return next(2**power for power in range(32) if 2**power >= side)

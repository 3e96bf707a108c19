"""Greyscale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from ..pictures.colour import LUMA
from .base import Degradation, check_rgb
from .separable import like

_WEIGHTS = np.array(LUMA)[:, None, None]


@dataclass(frozen=True)
class Grey(Degradation):
    """The luma of Rec. 601, repeated in 3 channels."""

    name: ClassVar[str] = "grey"
    help: ClassVar[str] = "greyscale; the colours of the input are ignored"

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> the same shape, with equal channels; raises ImageError if it is not RGB."""
        check_rgb(x, self.name)
        return (x * like(_WEIGHTS, x)).sum(1, keepdim=True).expand(x.shape)

    def project(self, y: Tensor) -> Tensor:
        """The luma of the target: as `forward`."""
        return self.forward(y)

"""A picture without colours."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from torch import Tensor

from .base import Degradation, check_rgb
from .separable import like

LUMA = (0.299, 0.587, 0.114)  # of R, G, B: Rec. 601, as JPEG has it
_WEIGHTS = np.array(LUMA)[:, None, None]


class Grey(Degradation):
    """The luma of Rec. 601, repeated in 3 channels."""

    name: ClassVar[str] = "grey"
    help: ClassVar[str] = "no colours; those of the input are ignored"

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> the same shape, its channels alike; raises ImageError where it is not RGB."""
        check_rgb(x, self.name)
        return (x * like(_WEIGHTS, x)).sum(1, keepdim=True).expand(x.shape)

    def project(self, y: Tensor) -> Tensor:
        """As `measure`."""
        return self.forward(y)

"""Hidden parts of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import SettingError
from ..pictures.images import read_image
from ..settings import REQUIRED, option
from .area import area_matrix
from .base import Degradation
from .separable import both_axes


@dataclass(frozen=True, eq=False)
class Mask(Degradation):
    """Hides pixels of the target; the search ignores them.

    Args:
        mask: [h, w] or [1, h, w] in 0..1 of any size, 1 = visible, 0 = hidden. It is resized to the target by area.

    Raises:
        SettingError: another shape, values outside 0..1, or nothing visible.
    """

    name: ClassVar[str] = "mask"
    help: ClassVar[str] = "hides parts of the input"
    mask: Tensor = option(REQUIRED, "white where visible, black where hidden", file=True)  # noqa: RUF009

    def __post_init__(self) -> None:
        mask = self.mask
        plane = mask[0] if mask.ndim == 3 and len(mask) == 1 else mask
        if plane.ndim != 2 or plane.numel() == 0:
            raise SettingError(
                f"The mask has the shape {list(mask.shape)}.", "[h, w] or [1, h, w].", "give one plane of a picture."
            )
        low, high = (float(end) for end in torch.aminmax(plane))
        if not (low >= 0 and 0 < high <= 1):
            raise SettingError(
                f"The mask's values run from {low:.3g} to {high:.3g}.",
                "0 (hidden) to 1 (visible), with something visible.",
                "make the visible part white.",
            )
        object.__setattr__(self, "mask", plane.detach().to("cpu", torch.float32))

    @classmethod
    def from_options(cls, **values: Any) -> Degradation:
        """From the first channel of an image file; raises ImageError if it cannot be read."""
        return cls(read_image(values["mask"])[:1])

    def forward(self, x: Tensor) -> Tensor:
        """The identity; `weight_map` hides the pixels."""
        return x

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """[B, C, H, W] -> the same shape, grey (0.5) where hidden."""
        return 0.5 + (x - 0.5) * self._resized(x)

    def weight_map(self, y: Tensor) -> Tensor:
        """[B, 1, h, w]: the mask in the size of the target."""
        return self._resized(y).expand(len(y), 1, -1, -1)

    def _resized(self, x: Tensor) -> Tensor:
        """[h, w] in the size, dtype and device of x."""
        rows, columns = (
            area_matrix(length, out, length / out) for length, out in zip(self.mask.shape, x.shape[-2:], strict=True)
        )
        return both_axes(rows, self.mask.to(x), columns).clamp(0, 1)

"""An image pyramid for fast small crops of any size and rotation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ..devices.optimizations import memory_format
from ..interrupts import each

_MIN_LEVEL = 24  # pixels a side of the smallest level
_CROPS = 256  # per batch


class Pyramid:
    """A picture [3, H, W] in 0..1 and its halvings, in -1..1."""

    def __init__(self, picture: Tensor):
        self.height, self.width = picture.shape[-2:]
        self._levels = [picture.float().mul(2).sub_(1)[None]]
        while min(self._levels[-1].shape[-2:]) >= 2 * _MIN_LEVEL:
            self._levels.append(F.avg_pool2d(self._levels[-1], 2))

    @property
    def device(self) -> torch.device:
        return self._levels[0].device

    def scaled(self, scale: float) -> tuple[Tensor, Tensor]:
        """The picture resized by about `scale`, [1, 3, h, w], and the exact (x, y) ratio of the picture to it, [2]."""
        level = self._level(1 / scale)
        image, extent = self._levels[level], self._extent(level)
        width, height = (max(1, round(length * scale)) for length in extent.tolist())
        if image.shape[-2:] != (height, width):
            image = F.interpolate(image, (height, width), mode="bilinear", align_corners=False, antialias=True)
        return image, extent / extent.new_tensor([width, height])

    def crops(self, centres: Tensor, right: Tensor, down: Tensor, side: int) -> Iterator[Tensor]:
        """Crops parallelograms as [<= 256, 3, side, side], in order; grey outside the picture.

        Args:
            centres, right, down: [N, 2] each, (x, y) in pixels; right and down are the vectors from the centre to the
                centres of the right and lower edges.
        """
        for centre, across, along in zip(*(part.split(_CROPS) for part in (centres, right, down)), strict=True):
            if not len(centre):
                return
            # at least one pixel of the level per sampling point, of which there are 2 * side
            levels = torch.tensor([self._level(reach / side) for reach in across.norm(dim=1).tolist()])
            crops = centre.new_empty(len(centre), 3, side, side).contiguous(memory_format=memory_format(centre))
            for level in each(levels.unique().tolist()):
                chosen = (levels == level).to(centre.device)
                crops[chosen] = self._sampled(level, centre[chosen], across[chosen], along[chosen], side)
            yield crops

    def _extent(self, level: int) -> Tensor:
        """(x, y) size of a level in pixels of the picture: halving drops an odd pixel at the edge."""
        height, width = self._levels[level].shape[-2:]
        return torch.tensor([width << level, height << level], dtype=torch.float32, device=self.device)

    def _level(self, shrink: float) -> int:
        """The smallest level that is not below the resolution of the picture divided by `shrink`."""
        return min(max(0, math.floor(math.log2(max(1.0, shrink)))), len(self._levels) - 1)

    def _sampled(self, level: int, centres: Tensor, right: Tensor, down: Tensor, side: int) -> Tensor:
        """Samples at twice the density and averages."""
        steps = (torch.arange(2 * side, device=centres.device) + 0.5) / side - 1
        points = (
            centres[:, None, None] + steps[:, None] * right[:, None, None] + steps[:, None, None] * down[:, None, None]
        )
        grid = points * 2 / self._extent(level) - 1
        # one tall grid for all crops, so that the image is not repeated
        image = self._levels[level]
        tall = F.grid_sample(image, grid.flatten(0, 1)[None], padding_mode="zeros", align_corners=False)
        return F.avg_pool2d(tall.unflatten(2, (len(centres), 2 * side))[0].movedim(1, 0), 2)

"""A picture in many sizes, out of which small crops of any size and turn are taken quickly."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ..devices.optimizations import memory_format

_SMALLEST = 24  # pixels a side, where halving ends
_CROPS = 256  # crops at a time


class Pyramid:
    """A picture [3, H, W] in 0..1 and its halvings, in the range -1..1 of the networks."""

    def __init__(self, picture: Tensor):
        self.height, self.width = picture.shape[-2:]
        self._levels = [picture.float().mul(2).sub_(1)[None]]
        while min(self._levels[-1].shape[-2:]) >= 2 * _SMALLEST:
            self._levels.append(F.avg_pool2d(self._levels[-1], 2))

    @property
    def device(self) -> torch.device:
        return self._levels[0].device

    def scaled(self, scale: float) -> tuple[Tensor, Tensor]:
        """The picture, about `scale` times as large: [1, 3, h, w]; and the (x, y) pixels of it for one of that: [2]."""
        level = self._level(1 / scale)
        image, extent = self._levels[level], self._extent(level)
        width, height = (max(1, round(length * scale)) for length in extent.tolist())
        if image.shape[-2:] != (height, width):
            image = F.interpolate(image, (height, width), mode="bilinear", align_corners=False, antialias=True)
        return image, extent / extent.new_tensor([width, height])

    def crops(self, centres: Tensor, right: Tensor, down: Tensor, side: int) -> Iterator[Tensor]:
        """Parallelograms as [<= 256, 3, side, side], in their order; what lies outside of the picture is grey.

        Args:
            centres, right, down: [N, 2] each, (x, y) in pixels; right and down lead from a centre to the middles
                of the right and the lower edge.
        """
        for centre, across, along in zip(*(part.split(_CROPS) for part in (centres, right, down)), strict=True):
            if not len(centre):
                return
            # at least a pixel of the level for each of the sampling points, of which there are 2 * side
            levels = torch.tensor([self._level(reach / side) for reach in across.norm(dim=1).tolist()])
            crops = centre.new_empty(len(centre), 3, side, side).contiguous(memory_format=memory_format(centre))
            for level in levels.unique().tolist():
                chosen = (levels == level).to(centre.device)
                crops[chosen] = self._sampled(level, centre[chosen], across[chosen], along[chosen], side)
            yield crops

    def _extent(self, level: int) -> Tensor:
        """(x, y) pixels of the picture that a level shows: an odd one at the edge is lost in halving."""
        height, width = self._levels[level].shape[-2:]
        return torch.tensor([width << level, height << level], dtype=torch.float32, device=self.device)

    def _level(self, shrink: float) -> int:
        """The smallest one that has, after `shrink`, no fewer pixels than are asked for."""
        return min(max(0, math.floor(math.log2(max(1.0, shrink)))), len(self._levels) - 1)

    def _sampled(self, level: int, centres: Tensor, right: Tensor, down: Tensor, side: int) -> Tensor:
        """Sampled at twice the density and averaged."""
        steps = (torch.arange(2 * side, device=centres.device) + 0.5) / side - 1
        points = (
            centres[:, None, None] + steps[:, None] * right[:, None, None] + steps[:, None, None] * down[:, None, None]
        )
        grid = points * 2 / self._extent(level) - 1
        # all crops out of the one image: as one tall grid, so that the image is not repeated
        image = self._levels[level]
        tall = F.grid_sample(image, grid.flatten(0, 1)[None], padding_mode="zeros", align_corners=False)
        return F.avg_pool2d(tall.unflatten(2, (len(centres), 2 * side))[0].movedim(1, 0), 2)

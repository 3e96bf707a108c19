"""Where the face is, and how much each pixel of the target counts.

The generator knows faces far better than what may lie behind them: a flag or a bookshelf counts less than the face,
which would be bent for it otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..faces.face import CENTRE, RADII
from ..generators import Generator

_EDGE = 12.0  # how steeply a weight falls at its edge, per radius
TAIL_AROUND = 0.05  # of the Cauchy loss around the face, where it is 0.1: what the generator cannot draw pulls little


def face_map(generator: Generator, like: Tensor) -> Tensor:
    """[1, 1, h, w] in 0..1 for a target [B, C, h, w]: 1 in the face, 0 around it.

    1 everywhere for a generator that is not square: its pictures are no aligned faces.
    """
    height, width = like.shape[-2:]
    if generator.size[0] != generator.size[1]:
        return like.new_ones(1, 1, height, width)
    x, y = ((torch.arange(side).to(like) + 0.5) / side for side in (width, height))
    across, down = (x - CENTRE[0]) / RADII[0], (y - CENTRE[1]) / RADII[1]
    distance = (across.square()[None, :] + down.square()[:, None]).sqrt()
    return torch.sigmoid((1 - distance) * _EDGE)[None, None]


def weight_map(face: Tensor, background: float, trust: Tensor | None) -> Tensor:
    """[B or 1, 1, h, w]: 1 in the face and `background` around it, times what the degradation trusts."""
    weight = background + (1 - background) * face
    return weight if trust is None else weight * trust

"""How much each pixel of the target counts: the face more than what is around it.

A generator of faces knows few backgrounds. A flag or a bookshelf that counted as much as the face would bend the face.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..degradations import Degradation
from ..faces.face import CENTRE, RADII
from ..generators import Generator
from .config import SearchConfig
from .losses import CAUCHY_SCALE

FACE_EDGE = 12.0  # steepness of the face's edge, per radius of its ellipse
CAUCHY_SCALE_AROUND = 0.05  # of the Cauchy loss around the face; CAUCHY_SCALE in it (bench/TRIED.md)


class PixelWeights(NamedTuple):
    """Maps over the target, [1 or B, 1, h, w] each; None weighs all pixels alike.

    degradation: what the forward operator left of the pixels: 0 behind a mask or beyond a photograph's border.
    face: 1 in the face, 0 around it. loss: of the likelihood. convergence: of the error that decides convergence.
    cauchy_scale: of the Cauchy loss.
    """

    degradation: Tensor | None
    face: Tensor
    loss: Tensor | None
    convergence: Tensor | None
    cauchy_scale: Tensor

    def tensors(self) -> list[Tensor]:
        """Those that depend on the target."""
        return [each for each in (self.degradation, self.loss, self.convergence) if each is not None]


def pixel_weights(
    generator: Generator, target: Tensor, degradation: Degradation, config: SearchConfig, *, has_density: bool
) -> PixelWeights:
    """The maps of a batch of targets [B, C, h, w].

    Args:
        has_density: of the prior; without one, as published, all pixels count alike.
    """
    own = degradation.weight_map(target)
    own = None if own is None else own.contiguous()
    face = face_map(generator, target)
    loss = convergence = own
    if has_density:
        loss = weight_map(face, config.background_weight, own)
        convergence = weight_map(face, 0.0, own) if config.background_weight < 1 else own
    scale = CAUCHY_SCALE_AROUND + (CAUCHY_SCALE - CAUCHY_SCALE_AROUND) * face
    return PixelWeights(own, face, loss, convergence, scale)


def face_map(generator: Generator, like: Tensor) -> Tensor:
    """[1, 1, h, w] in 0..1 for a target [B, C, h, w]: 1 in the face's ellipse, 0 around it.

    1 everywhere for a generator that is not square: its images are not aligned faces.
    """
    height, width = like.shape[-2:]
    if generator.size[0] != generator.size[1]:
        return like.new_ones(1, 1, height, width)
    x, y = ((torch.arange(side).to(like) + 0.5) / side for side in (width, height))
    across, down = (x - CENTRE[0]) / RADII[0], (y - CENTRE[1]) / RADII[1]
    distance = (across.square()[None, :] + down.square()[:, None]).sqrt()
    return torch.sigmoid((1 - distance) * FACE_EDGE)[None, None]


def weight_map(face: Tensor, background: float, own: Tensor | None) -> Tensor:
    """[1 or B, 1, h, w]: 1 in the face and `background` around it, times the degradation's own weights."""
    weight = background + (1 - background) * face
    return weight if own is None else weight * own

"""Face detection with five landmarks: the MTCNN cascade (Zhang et al. 2016, arXiv 1604.02878).

The cascade's landmarks are noisy: shifting the picture by a pixel moves them by 1 % of the face. The last network is
therefore applied again to each upright face, with several shifts, scales and flips (test-time augmentation); the mean
is several times more stable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ..devices.optimizations import memory_format
from ..interrupts import check_interrupt, each
from ..limits import FLOAT, check_bytes, max_bytes
from . import networks
from .networks import Weights
from .pyramid import Pyramid

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "faces" / "mtcnn.safetensors"
_CELL, _STRIDE = 12, 2  # receptive field and stride of the first network
_STEP = 0.709  # ratio of the scales of the first network, as published
_CANDIDATE, _REFINED = 0.6, 0.7  # score thresholds of the first two networks
_PIXELS = 3_000_000  # up to this size, a picture is searched for the smallest faces
_STRIPE = 1 << 18  # pixels per pass of the first network
_COPIES = 3  # of an enlarged picture, while it is made
_BLOCK = 64  # boxes compared with all others at a time
_FRAME = 1.15  # half side of the square for test-time augmentation, in eye or eye-to-mouth distances
# shift (x, y) in sides of that square, and scale
_VIEWS = ((0, 0, 0.92), (0, 0, 1), (0, 0, 1.08), (0.04, 0.04, 1), (-0.04, 0.04, 1), (0.04, -0.04, 1), (-0.04, -0.04, 1))


@dataclass(frozen=True)
class Detected:
    """A face in a picture: box (left, top, right, bottom), landmarks [5, 2] as face.POINTS, and score 0..1."""

    box: Tensor
    landmarks: Tensor
    score: float


@lru_cache(maxsize=4)
def _weights(device: torch.device) -> Weights:
    with torch.inference_mode(False):
        return load_file(WEIGHTS, device=str(device))


@torch.no_grad()
def detect(picture: Tensor, *, threshold: float = 0.9, min_size: float = 0) -> list[Detected]:
    """Detects all upright faces of one picture, largest first.

    Args:
        picture: [3, H, W] in 0..1, any size; runs on its device.
        threshold: minimum score, 0..1. Clear faces have 0.99 and more.
        min_size: size of the smallest face, in pixels from brow to chin; time grows with 1 / min_size^2. 0: 12 in
            pictures of up to 3 megapixels, more in larger ones. Below 12, the picture is enlarged.

    Raises:
        SettingError: the enlarged picture does not fit into memory.
    """
    _check_size(picture.shape[-2], picture.shape[-1], min_size)
    min_size = min_size or _CELL * max(1.0, (picture.shape[-1] * picture.shape[-2] / _PIXELS) ** 0.5)
    pyramid = Pyramid(picture)
    weights = _weights(pyramid.device)
    boxes = _refined(weights, pyramid, _proposals(weights, pyramid, min_size))
    found = _outputs(weights, pyramid, boxes, threshold)
    return sorted(found, key=lambda face: -float(_area(face.box[None])))


def _check_size(height: int, width: int, min_size: float) -> None:
    """Checks the memory of the picture, enlarged so that the smallest faces have the size of a cell."""
    if not 0 < min_size < _CELL:
        return
    enlarged = [math.ceil(side * _CELL / min_size) for side in (width, height)]
    wanted = _COPIES * 3 * math.prod(enlarged) * FLOAT
    least = math.ceil(min_size * (wanted / max_bytes()) ** 0.5)
    check_bytes(
        wanted,
        f"min_face_size is {min_size:g}: the picture of {width}x{height}, enlarged to {enlarged[0]}x{enlarged[1]},",
        f"set min_face_size to {least} or more, or to 0.",
    )


def _proposals(weights: Weights, pyramid: Pyramid, min_size: float) -> Tensor:
    """Square candidates [N, 4] of the first network, at every scale."""
    scale, found = _CELL / min_size, []
    while min(pyramid.height, pyramid.width) * scale >= _CELL:
        image, ratio = pyramid.scaled(scale)
        kept = [_candidates(*networks.proposal(weights, stripe), top) for top, stripe in each(_stripes(image))]
        boxes, scores = (torch.cat(parts) for parts in zip(*kept, strict=True))
        chosen = _suppress(boxes, scores, 0.5)
        found.append((boxes[chosen] * ratio.repeat(2), scores[chosen]))
        scale *= _STEP
    if not found:
        return torch.zeros(0, 4, device=pyramid.device)
    boxes, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
    return _square(boxes[_suppress(boxes, scores, 0.7)])


def _stripes(image: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, rows), overlapping by the receptive field, to bound the memory of the first network."""
    height, width = image.shape[-2:]
    rows = max(_CELL, _STRIPE // width // _STRIDE * _STRIDE)
    for top in range(0, height - _CELL + 1, rows):
        stripe = image[..., top : top + rows + _CELL - _STRIDE, :]
        yield top, stripe.contiguous(memory_format=memory_format(stripe))


def _candidates(scores: Tensor, offsets: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Boxes [N, 4] in pixels of the scaled image, and their scores."""
    _, row, column = (scores >= _CANDIDATE).nonzero(as_tuple=True)
    corner = torch.stack([column, row], dim=1) * _STRIDE + offsets.new_tensor([0, top])
    boxes = torch.cat([corner, corner + _CELL], dim=1)
    return boxes + offsets[0, :, row, column].T * _CELL, scores[0, row, column]


def _refined(weights: Weights, pyramid: Pyramid, boxes: Tensor) -> Tensor:
    """Square candidates [M, 4] that the second network keeps."""
    results = [networks.refinement(weights, crops) for crops in _crops(pyramid, boxes, 24)]
    if not results:
        return boxes
    scores, offsets = (torch.cat(parts) for parts in zip(*results, strict=True))
    good = scores >= _REFINED
    boxes, scores, offsets = boxes[good], scores[good], offsets[good]
    chosen = _suppress(boxes, scores, 0.7)
    return _square(_moved(boxes[chosen], offsets[chosen]))


def _outputs(weights: Weights, pyramid: Pyramid, boxes: Tensor, threshold: float) -> list[Detected]:
    """Faces of the third network, with refined landmarks."""
    results = [networks.output(weights, crops) for crops in _crops(pyramid, boxes, 48)]
    if not results:
        return []
    scores, offsets, points = (torch.cat(parts) for parts in zip(*results, strict=True))
    good = scores >= threshold
    boxes, scores, offsets, points = boxes[good], scores[good], offsets[good], points[good]
    points = boxes[:, None, :2] + points * (boxes[:, 2:] - boxes[:, :2])[:, None]
    if not bool(good.any()):
        return []
    boxes = _moved(boxes, offsets)
    chosen = _suppress(boxes, scores, 0.7, of_smaller=True)
    points, scores = _augmented_landmarks(weights, pyramid, points[chosen])
    found = (Detected(*face) for face in zip(boxes[chosen].cpu(), points.cpu(), scores.tolist(), strict=True))
    return [face for face in found if face.score >= threshold]


def _augmented_landmarks(weights: Weights, pyramid: Pyramid, points: Tensor) -> tuple[Tensor, Tensor]:
    """Landmarks [N, 5, 2] -> more stable ones, and scores [N]: means over augmented views of each upright face."""
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    across, along = points[:, 1] - points[:, 0], mouth - eyes
    right = across + _clockwise(along, -1)
    reach = torch.maximum(across.norm(dim=1), along.norm(dim=1)) * _FRAME
    right = right * (reach / right.norm(dim=1))[:, None]
    down = _clockwise(right)
    centre = (eyes + mouth) / 2 - 0.2 * down  # slightly above the centre, as in the training data
    views = points.new_tensor(_VIEWS + _VIEWS)[:, None]
    x, y, scale = views[..., :1], views[..., 1:2], views[..., 2:]
    mirrored = scale.new_ones(len(views), 1, 1)
    mirrored[len(_VIEWS) :] = -1
    # [views, N, 2] each
    centre, right, down = centre + 2 * (x * right + y * down), right * scale * mirrored, down * scale
    crops = pyramid.crops(centre.flatten(0, 1), right.flatten(0, 1), down.flatten(0, 1), 48)
    scores, _, seen = (torch.cat(part) for part in zip(*(networks.output(weights, c) for c in crops), strict=True))
    seen = seen.unflatten(0, (len(views), -1)) * 2 - 1
    found = centre[:, :, None] + seen[..., :1] * right[:, :, None] + seen[..., 1:] * down[:, :, None]
    found[len(_VIEWS) :] = found[len(_VIEWS) :, :, [1, 0, 2, 4, 3]]
    return found.mean(0), scores.unflatten(0, (len(views), -1)).mean(0)


def _clockwise(vectors: Tensor, turn: int = 1) -> Tensor:
    """A clockwise quarter turn, or with -1 a counter-clockwise one: [..., 2] -> [..., 2]."""
    return torch.stack([-vectors[..., 1], vectors[..., 0]], dim=-1) * turn


def _crops(pyramid: Pyramid, boxes: Tensor, side: int) -> Iterator[Tensor]:
    """Crops square boxes [N, 4]."""
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    none = torch.zeros_like(half[:, :1])
    right, down = torch.cat([half[:, :1], none], dim=1), torch.cat([none, half[:, 1:]], dim=1)
    return pyramid.crops(boxes[:, :2] + half, right, down, side)


def _moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Shifts the corners by offsets in sides of the boxes."""
    return boxes + offsets * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    """Squares with the same centres and the longer sides."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def _suppress(boxes: Tensor, scores: Tensor, overlap: float, *, of_smaller: bool = False) -> Tensor:
    """Non-maximum suppression: the indices of the boxes that remain.

    Args:
        overlap: maximum intersection, as a share of the union (or of the smaller box).
    """
    left, area = scores.argsort(descending=True, stable=True).cpu(), _area(boxes).cpu()
    boxes, kept = boxes.cpu(), [torch.zeros(0, dtype=torch.long, device="cpu")]
    while left.numel():  # in blocks: one at a time is slow for thousands of boxes
        check_interrupt()
        block = left[:_BLOCK]
        low = torch.maximum(boxes[block, None, :2], boxes[left, :2])
        common = (torch.minimum(boxes[block, None, 2:], boxes[left, 2:]) - low).clamp(min=0).prod(dim=2)
        mine, other = area[block, None], area[left]
        removes = common > overlap * (torch.minimum(mine, other) if of_smaller else mine + other - common)
        stays = np.ones(len(block), bool)
        within = removes[:, : len(block)].numpy()
        for row in range(len(block)):
            if stays[row]:
                stays[row + 1 :] &= ~within[row, row + 1 :]
        kept.append(block[stays])
        left = left[len(block) :][~removes[stays][:, len(block) :].any(dim=0)]
    return torch.cat(kept).to(scores.device)

"""The three networks of MTCNN (Zhang et al. 2016, arXiv 1604.02878, fig. 2), as functions of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def proposal(weights: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    """P-Net, fully convolutional: [B, 3, H, W] in -1..1 -> scores [B, h, w], box offsets [B, 4, h, w].

    Output (r, c) sees the 12x12 pixels from (2r, 2c) on.
    """
    conv = partial(_conv, weights, "pnet")
    x = _pool(conv(x, 1), 2)
    x = conv(conv(x, 2), 3)
    return _score(conv(x, "4_1")), conv(x, "4_2")


def refinement(weights: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    """R-Net: crops [N, 3, 24, 24] in -1..1 -> scores [N], box offsets [N, 4]."""
    conv, dense = partial(_conv, weights, "rnet"), partial(_dense, weights, "rnet")
    x = _pool(conv(x, 1), 3)
    x = _pool(conv(x, 2), 3)
    x = dense(_flat(conv(x, 3)), 4)
    return _score(dense(x, "5_1")), dense(x, "5_2")


def output(weights: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """O-Net: crops [N, 3, 48, 48] in -1..1 -> scores [N], box offsets [N, 4], landmarks [N, 5, 2] in 0..1 (x, y)."""
    conv, dense = partial(_conv, weights, "onet"), partial(_dense, weights, "onet")
    x = _pool(conv(x, 1), 3)
    x = _pool(conv(x, 2), 3)
    x = _pool(conv(x, 3), 2)
    x = dense(_flat(conv(x, 4)), 5)
    return _score(dense(x, "6_1")), dense(x, "6_2"), rearrange(dense(x, "6_3"), "n (xy points) -> n points xy", xy=2)


def _conv(weights: Weights, network: str, x: Tensor, layer: int | str) -> Tensor:
    name = f"{network}.conv{layer}"
    return _prelu(weights, network, layer, F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"]))


def _dense(weights: Weights, network: str, x: Tensor, layer: int | str) -> Tensor:
    name = f"{network}.dense{layer}"
    return _prelu(weights, network, layer, F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"]))


def _prelu(weights: Weights, network: str, layer: int | str, x: Tensor) -> Tensor:
    """PReLU, if the layer has one; the heads do not."""
    slope = weights.get(f"{network}.prelu{layer}.weight")
    return x if slope is None else F.prelu(x, slope)


def _pool(x: Tensor, size: int) -> Tensor:
    return F.max_pool2d(x, size, 2, ceil_mode=True)


def _flat(x: Tensor) -> Tensor:
    """The published weights were trained on features in the order columns, rows, channels."""
    return rearrange(x, "n c h w -> n (w h c)")


def _score(logits: Tensor) -> Tensor:
    """The probability of the class face."""
    return torch.softmax(logits, dim=1)[:, 1]

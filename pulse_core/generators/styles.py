"""The styles of all layers: one affine map of a latent each, on CUDA computed together.

They are so small that there a map costs its launch and not its work: 23 maps with their gradients become 7 kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..devices.optimizations import uses
from .derived import once


class Map(NamedTuple):
    """ws[:, which] -> style [B, size]: by the first rows of weight [C, w_dim] and bias [C]."""

    weight: Tensor
    bias: Tensor
    which: int
    size: int


def styles(maps: Sequence[Map], ws: Tensor) -> tuple[Tensor, ...]:
    """ws [B, num_ws, w_dim] -> one style [B, size] a map."""
    if _together(ws.device):
        results: tuple[Tensor, ...] = _Together.apply(ws, tuple(maps))
        return results
    latents = ws.unbind(1)
    return tuple(F.linear(latents[each.which], each.weight[: each.size], each.bias[: each.size]) for each in maps)


def _together(device: torch.device) -> bool:
    return device.type == "cuda" and uses("kernels", device)


class _Stacked(NamedTuple):
    """weight [maps, C, w_dim] and bias [maps, 1, C], zero where a map has less; which [maps]; owners [num_ws, maps]."""

    weight: Tensor
    bias: Tensor
    which: Tensor
    owners: Tensor


def _stacked(maps: Sequence[Map], ws: Tensor) -> _Stacked:
    most = max(len(each.weight) for each in maps)
    weight = torch.stack([F.pad(each.weight, (0, 0, 0, most - len(each.weight))) for each in maps])
    bias = torch.stack([F.pad(each.bias, (0, most - len(each.bias)))[None] for each in maps])
    which = torch.tensor([each.which for each in maps])
    owners = F.one_hot(which, ws.shape[1]).mT.to(weight)
    return _Stacked(weight, bias, which.to(weight.device), owners)


class _Together(torch.autograd.Function):
    """All maps as one batched product, with the gradient written out."""

    @staticmethod
    def forward(ctx: Any, ws: Tensor, maps: tuple[Map, ...]) -> tuple[Tensor, ...]:
        names = f"styles {[each.which for each in maps]} of {ws.shape[1]}"
        weights = [tensor for each in maps for tensor in (each.weight, each.bias)]
        stacked = once(names, weights, lambda: _stacked(maps, ws))
        ctx.maps, ctx.stacked, ctx.shape = maps, stacked, ws.shape
        latents = ws.index_select(1, stacked.which).transpose(0, 1)
        all_styles = torch.baddbmm(stacked.bias, latents, stacked.weight.mT)
        return tuple(style[:, : each.size].contiguous() for style, each in zip(all_styles.unbind(0), maps, strict=True))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        stacked, (images, _, w_dim) = ctx.stacked, ctx.shape
        count, most, _ = stacked.weight.shape
        none = stacked.weight.new_zeros(images, most)
        parts = []
        for grad, each in zip(grads, ctx.maps, strict=True):
            parts += [none[:, : each.size] if grad is None else grad, none[:, each.size :]]
        grad = torch.cat(parts, 1).view(images, count, most).transpose(0, 1)
        for_latents = torch.bmm(grad, stacked.weight)
        for_ws = stacked.owners @ for_latents.reshape(count, images * w_dim)
        return for_ws.view(-1, images, w_dim).transpose(0, 1), None

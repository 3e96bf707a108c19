"""The styles of all layers: one affine map of a latent each, batched on CUDA.

The maps are so small that on CUDA kernel launches dominate their cost: 23 maps with their gradients become 7 kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..devices.optimizations import is_enabled
from .derived import cached


class AffineMap(NamedTuple):
    """ws[:, latent] -> style [B, size], by the first `size` rows of weight [C, w_dim] and bias [C]."""

    weight: Tensor
    bias: Tensor
    latent: int
    size: int


def styles(maps: Sequence[AffineMap], ws: Tensor) -> tuple[Tensor, ...]:
    """ws [B, num_ws, w_dim] -> one style [B, size] per map."""
    if _use_batched(ws.device):
        results: tuple[Tensor, ...] = _BatchedAffine.apply(ws, tuple(maps))
        return results
    latents = ws.unbind(1)
    return tuple(F.linear(latents[each.latent], each.weight[: each.size], each.bias[: each.size]) for each in maps)


def _use_batched(device: torch.device) -> bool:
    return device.type == "cuda" and is_enabled("kernels", device)


class _StackedMaps(NamedTuple):
    """weight [maps, C, w_dim] and bias [maps, 1, C], padded with zeros; latent [maps]; one_hot [num_ws, maps]."""

    weight: Tensor
    bias: Tensor
    latent: Tensor
    one_hot: Tensor


def _stack_maps(maps: Sequence[AffineMap], ws: Tensor) -> _StackedMaps:
    channels = max(len(each.weight) for each in maps)
    weight = torch.stack([F.pad(each.weight, (0, 0, 0, channels - len(each.weight))) for each in maps])
    bias = torch.stack([F.pad(each.bias, (0, channels - len(each.bias)))[None] for each in maps])
    latent = torch.tensor([each.latent for each in maps])
    one_hot = F.one_hot(latent, ws.shape[1]).mT.to(weight)
    return _StackedMaps(weight, bias, latent.to(weight.device), one_hot)


class _BatchedAffine(torch.autograd.Function):
    """All maps as one batched matrix product, with a hand-written gradient."""

    @staticmethod
    def forward(ctx: Any, ws: Tensor, maps: tuple[AffineMap, ...]) -> tuple[Tensor, ...]:
        names = f"styles {[each.latent for each in maps]} of {ws.shape[1]}"
        weights = [tensor for each in maps for tensor in (each.weight, each.bias)]
        stacked = cached(names, weights, lambda: _stack_maps(maps, ws))
        ctx.maps, ctx.stacked, ctx.shape = maps, stacked, ws.shape
        latents = ws.index_select(1, stacked.latent).transpose(0, 1)
        all_styles = torch.baddbmm(stacked.bias, latents, stacked.weight.mT)
        return tuple(style[:, : each.size].contiguous() for style, each in zip(all_styles.unbind(0), maps, strict=True))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        stacked, images = ctx.stacked, ctx.shape[0]
        count, channels, _ = stacked.weight.shape
        zeros = stacked.weight.new_zeros(images, channels)
        padded = []
        for grad, each in zip(grads, ctx.maps, strict=True):
            padded += [zeros[:, : each.size] if grad is None else grad, zeros[:, each.size :]]
        grad = rearrange(torch.cat(padded, 1), "b (maps c) -> maps b c", maps=count)
        grad_latents = torch.bmm(grad, stacked.weight)
        grad_ws = stacked.one_hot @ rearrange(grad_latents, "maps b d -> maps (b d)")
        return rearrange(grad_ws, "n (b d) -> b n d", b=images), None

"""A layer of frozen.py by the fused kernels, on CUDA: one pass over the features before a convolution and one behind.

The same formula and gradients. Features of 16 bits keep their type, whatever that of the styles and the noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import kernels as fused
from ..kernels import Epilogue, Kernels, like
from .base import channels_last

if TYPE_CHECKING:
    from .frozen import Filter, Layer


def chosen(x: Tensor, style: Tensor | None) -> tuple[Kernels | None, Tensor]:
    """The kernels for these features, or None; and the features, of as many images as there are styles."""
    images = len(x) if style is None else len(style)
    is_one = images > 1 and (len(x) == 1 or x.stride(0) == 0)  # for all of them, as a constant is
    kernels = fused.of(x[:1] if is_one else x)
    if kernels is not None and is_one:
        x = channels_last(x.expand(images, -1, -1, -1))
    return kernels, x


def forward(
    kernels: Kernels,
    ctx: Any,
    x: Tensor,
    noise: Tensor | None,
    style: Tensor | None,
    demod: Tensor | None,
    layer: Layer,
) -> Tensor:
    """See Layer; the filters behind the first treat all channels alike, so demod may come last."""
    behind = Epilogue(demod, noise, layer.strength, layer.bias, layer.slope, layer.limit)
    ctx.sizes = []
    if not layer.filters:
        y = kernels.epilogue(x, behind._replace(factor=style))
    else:
        first, *rest = layer.filters
        y, ctx.sizes = x, [(x.shape[2], x.shape[3])]
        if style is not None and len(x) == 1 and first.weight.numel() <= x.numel():
            first = scaled(first, style)  # spares a pass over the features
        elif style is not None:
            y = kernels.epilogue(x, Epilogue(style))
        y = first(y)
        for each in rest:
            ctx.sizes.append((y.shape[2], y.shape[3]))
            y = each(y)
        if behind != Epilogue():
            y = kernels.epilogue(y, behind, in_place=True)
    ctx.layer, ctx.kernels = layer, kernels
    needs_y = layer.slope != 1 or layer.limit is not None or demod is not None
    ctx.save_for_backward(None if style is None else x, y if needs_y else None, noise, style, demod)
    return y


def scaled(first: Filter, style: Tensor) -> Filter:
    """Its weights times the style of one image, of their own type."""
    weight, factors = first.weight, style if not (first.up or first.depthwise) else style.view(-1, 1, 1, 1)
    out = torch.empty_like(weight)
    return replace(first, weight=torch.mul(weight, factors, out=out))


def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """See frozen._Applied."""
    layer, kernels = ctx.layer, ctx.kernels
    x, y, noise, style, demod = ctx.saved_tensors
    wants_x, wants_noise, wants_style, wants_demod, _ = ctx.needs_input_grad
    for_noise = for_style = for_demod = None
    behind = Epilogue(demod, noise, layer.strength, layer.bias, layer.slope, layer.limit)
    is_ours = layer.overwrites
    if y is not None:
        given, grad = grad, like(grad, y)
        grad, for_demod = kernels.epilogue_back(
            grad, y, behind, wants_factor=wants_demod, in_place=is_ours or grad is not given
        )
        is_ours = True
    if wants_noise and layer.strength is not None:
        for_noise = kernels.noise_back(grad, behind)
    if (wants_x or wants_style) and layer.filters:
        grad, is_ours = layer.adjoint(grad, None, ctx.sizes), True
    if style is not None and (wants_x or wants_style):
        given, grad = grad, like(grad, x)
        grad, for_style = kernels.style_back(grad, x, style, wants_x=wants_x, in_place=is_ours or grad is not given)
    return (grad if wants_x else None), for_noise, for_style, for_demod, None


class Haar(torch.autograd.Function):
    """bands * style, and the inverse Haar transform; see mobilestylegan.inverse_haar."""

    @staticmethod
    def forward(ctx: Any, bands: Tensor, style: Tensor | None, kernels: Kernels) -> Tensor:
        ctx.kernels, ctx.shape, ctx.is_last = (
            kernels,
            bands.shape,
            bands.is_contiguous(memory_format=torch.channels_last),
        )
        ctx.save_for_backward(None if style is None else bands, style)
        return kernels.haar(bands, style)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        bands, style = ctx.saved_tensors
        wants_bands = ctx.needs_input_grad[0]
        if bands is None:  # where to put its gradient
            layout = torch.channels_last if ctx.is_last else torch.contiguous_format
            bands = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
        for_bands, for_style = ctx.kernels.haar_back(grad, bands, style)
        return (for_bands if wants_bands else None), for_style, None

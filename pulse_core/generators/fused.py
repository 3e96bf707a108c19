"""A FrozenLayer by the fused CUDA kernels: one pass over the features before a convolution, and one after it.

Formula and gradients are those of frozen.py. 16-bit features keep their type, whatever the type of styles and noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import kernels as fused
from .base import channels_last
from .kernels import Kernels, to_layout_of
from .kernels.operands import Epilogue

if TYPE_CHECKING:
    from .frozen import Convolution, FrozenLayer


def select_kernels(x: Tensor, style: Tensor | None) -> tuple[Kernels | None, Tensor]:
    """The kernels for these features, or None; and the features, expanded to the batch size of the styles."""
    images = len(x) if style is None else len(style)
    is_shared = images > 1 and (len(x) == 1 or x.stride(0) == 0)  # by all images, as the constant input is
    kernels = fused.kernels_for(x[:1] if is_shared else x)
    if kernels is not None and is_shared:
        x = channels_last(x.expand(images, -1, -1, -1))
    return kernels, x


def forward(
    kernels: Kernels,
    ctx: Any,
    x: Tensor,
    noise: Tensor | None,
    style: Tensor | None,
    demod: Tensor | None,
    layer: FrozenLayer,
) -> Tensor:
    """See FrozenLayer. Convolutions after the first treat all channels alike, so demod may be applied last."""
    epilogue = Epilogue(demod, noise, layer.strength, layer.bias, layer.slope, layer.limit)
    if not layer.convolutions:
        y, ctx.sizes = kernels.epilogue(x, epilogue._replace(factor=style)), []
    else:
        y, ctx.sizes = _convolve(kernels, x, style, layer, epilogue)
    ctx.layer, ctx.kernels = layer, kernels
    needs_y = layer.slope != 1 or layer.limit is not None or demod is not None
    ctx.save_for_backward(None if style is None else x, y if needs_y else None, noise, style, demod)
    return y


def _convolve(
    kernels: Kernels, x: Tensor, style: Tensor | None, layer: FrozenLayer, epilogue: Epilogue
) -> tuple[Tensor, list[tuple[int, int]]]:
    """The formula for a layer with convolutions, and the input size of each."""
    sizes = []
    for index, each in enumerate(layer.convolutions):
        sizes.append((x.shape[2], x.shape[3]))
        own = style if index == 0 else None
        is_last = index + 1 == len(layer.convolutions)
        if each.depthwise and kernels.supports_depthwise(x, each.weight) and (own is None or not is_last):
            fused_epilogue = epilogue if is_last else Epilogue(own)
            epilogue = Epilogue() if is_last else epilogue
            filtered, _ = kernels.depthwise(x, each.weight, each.padding, fused_epilogue)
            assert filtered is not None
            x = filtered
            continue
        if own is not None and len(x) == 1 and each.weight.numel() <= x.numel():
            each = _modulate_weight(each, own)  # saves a pass over the features
        elif own is not None:
            x = kernels.epilogue(x, Epilogue(own))
        x = each(x)
    return (kernels.epilogue(x, epilogue, in_place=True) if epilogue.has_effect else x), sizes


def _modulate_weight(first: Convolution, style: Tensor) -> Convolution:
    """Folds the style of one image into the weights, in their own type."""
    factors = style.view(-1, 1, 1, 1) if first.up or first.depthwise else style
    return replace(first, weight=torch.mul(first.weight, factors, out=torch.empty_like(first.weight)))


def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """See frozen._FrozenLayerFunction."""
    layer, kernels = ctx.layer, ctx.kernels
    x, y, noise, style, demod = ctx.saved_tensors
    needs_x, needs_noise, needs_style, needs_demod, _ = ctx.needs_input_grad
    grad_noise = grad_style = grad_demod = None
    epilogue = Epilogue(demod, noise, layer.strength, layer.bias, layer.slope, layer.limit)
    given, like = grad, y if y is not None else x
    grad = channels_last(grad) if like is None else to_layout_of(grad, like)  # an image's gradient may differ in format
    may_overwrite = layer.overwrites or grad is not given  # else autograd may share it with another node
    if y is not None:
        grad, grad_demod = kernels.epilogue_back(grad, y, epilogue, needs_factor=needs_demod, in_place=may_overwrite)
        may_overwrite = True
    if needs_noise and layer.strength is not None:
        grad_noise = kernels.noise_back(grad, epilogue)
    needs_any = needs_x or needs_style
    for index in reversed(range(len(layer.convolutions) if needs_any else 0)):
        each, size, may_overwrite = layer.convolutions[index], ctx.sizes[index], True
        if each.depthwise and kernels.supports_depthwise(grad, each.weight):
            adjoint_padding = (each.weight.shape[2] - 1 - each.padding[0], each.weight.shape[3] - 1 - each.padding[1])
            own = style if index == 0 else None
            grad, grad_style = kernels.depthwise(
                grad,
                each.weight,
                adjoint_padding,
                Epilogue(own),
                flipped=True,
                conv_input=None if own is None else x,
                needs_out=needs_x or index > 0,
            )
        else:
            grad = each.adjoint(grad, size)
    if style is not None and needs_any and grad_style is None:
        given, grad = grad, to_layout_of(grad, x)
        grad, grad_style = kernels.style_back(
            grad, x, style, needs_x=needs_x, in_place=may_overwrite or grad is not given
        )
    return (grad if needs_x else None), grad_noise, grad_style, grad_demod, None


class Haar(torch.autograd.Function):
    """The inverse Haar transform of bands * style; see mobilestylegan.inverse_haar."""

    @staticmethod
    def forward(ctx: Any, bands: Tensor, style: Tensor | None, kernels: Kernels) -> Tensor:
        ctx.kernels, ctx.shape = kernels, bands.shape
        ctx.is_channels_last = bands.is_contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(None if style is None else bands, style)
        return kernels.haar(bands, style)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        bands, style = ctx.saved_tensors
        needs_bands = ctx.needs_input_grad[0]
        if bands is None:  # memory for its gradient
            layout = torch.channels_last if ctx.is_channels_last else torch.contiguous_format
            bands = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
        grad_bands, grad_style = ctx.kernels.haar_back(grad, bands, style)
        return (grad_bands if needs_bands else None), grad_style, None

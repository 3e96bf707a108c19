"""Layers of a frozen network: gradients for what flows through it, and none for its weights.

torch's own convolutions keep their input for a weight's gradient that a search never asks for, and each factor and
sum between two of them is a pass over the features of its own, forward and backward. Here one layer

    y = limit(leaky(demod * L(x * style) + noise * strength + bias)),    L a chain of convolutions,

keeps x and y at most, from which its gradients follow (and y is the next layer's x): a part of the memory and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..devices.optimizations import is_enabled, memory_format
from . import fused
from .base import channels_last, safe_layout
from .cudnn import SLOW_GRAD_SIDE, SLOW_UP_SIDE, is_slow_in_cudnn, subpixel_conv_transpose2d
from .derived import cached

Size = tuple[int, int]
_SLAB = 2**20  # numbers


@dataclass(frozen=True)
class Convolution:
    """A convolution that knows its adjoint.

    weight: [out, in, kh, kw]; depthwise [C, 1, kh, kw]; up [in, out, kh, kw]. padding: (vertical, horizontal).
    up: transposed, with stride 2.
    """

    weight: Tensor
    padding: Size = (0, 0)
    depthwise: bool = False
    up: bool = False

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, in, H, W] -> [B, out, H', W']."""
        weight = safe_layout(self.weight)
        if self.up and is_slow_in_cudnn(x, SLOW_UP_SIDE):
            return subpixel_conv_transpose2d(x, weight, bias, self.padding)
        if self.up:
            return F.conv_transpose2d(x, weight, bias, 2, self.padding)
        return F.conv2d(x, weight, bias, 1, self.padding, groups=len(weight) if self.depthwise else 1)

    def adjoint(self, grad: Tensor, size: Size) -> Tensor:
        """[B, out, H', W'] -> [B, in, *size]: the gradient of an input of that size."""
        if self.up:
            return F.conv2d(grad, safe_layout(self.weight), None, 2, self.padding)
        height, width = self.weight.shape[-2:]
        if self.depthwise:  # turned round: the general way takes a CPU up to eight times as long,
            around = (height - 1 - self.padding[0], width - 1 - self.padding[1])
            turned = cached("turned", [self.weight], lambda: self.weight.flip(2, 3))
            return F.conv2d(grad, safe_layout(turned), None, 1, around, groups=len(self.weight))
        if height == width == 1:  # and here it forgets channels_last, which such weights cannot tell
            turned = safe_layout(self.weight.transpose(0, 1))
            if grad.device.type != "cpu":  # which would copy it at each step
                turned = cached("transposed", [self.weight], turned.contiguous)
            return F.conv2d(grad, turned)
        if is_slow_in_cudnn(grad, SLOW_GRAD_SIDE):
            around = (height - 1 - self.padding[0], width - 1 - self.padding[1])
            return F.conv2d(grad, self.weight.flip(2, 3).transpose(0, 1).contiguous(), None, 1, around)
        shape = (len(grad), self.weight.shape[1], *size)
        # of the input only the shape counts, but one that is not laid out like the gradient would be copied
        like = (
            grad
            if grad.shape == shape
            else torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=memory_format(grad))
        )
        mask, ones = [True, False, False], [1, 1]
        gradient: Tensor = torch.ops.aten.convolution_backward(
            grad, like, safe_layout(self.weight), None, ones, list(self.padding), ones, False, [0, 0], 1, mask
        )[0]
        return gradient

    def scaled(self, before: Tensor | None, behind: Tensor | None) -> Convolution:
        """With factors [1, C, 1, 1] on the channels that go in and that come out."""
        weight = self.weight
        if before is not None:
            weight = weight * (before.view(-1, 1, 1, 1) if self.up or self.depthwise else before)
        if behind is not None:
            weight = weight * (behind if self.up else behind.view(-1, 1, 1, 1))
        return replace(self, weight=weight)

    def pooled(self) -> Convolution:
        """What it does to features that are alike over squares, on one number a square: a 1x1 convolution."""
        weight = self.weight.sum((2, 3), keepdim=True)
        return Convolution(weight.transpose(0, 1) / 4) if self.up else Convolution(weight, depthwise=self.depthwise)


@dataclass(frozen=True)
class FrozenLayer:
    """What is constant in a layer; see the module's formula.

    filters: L, the first one first. Where there is a demodulation, those behind the first treat all channels alike.
    bias: [C], or None. strength: of the noise, one number or [1, C, 1, 1]; None takes no noise.
    slope: of the leaky rectifier, below 0; 1 is none. limit: of the result; None for none.
    overwrites: the gradient of the result, to spare memory. Not where the result is added to something: autograd
        hands the other summand the same tensor.
    """

    filters: Sequence[Convolution]
    bias: Tensor | None = None
    strength: Tensor | None = None
    slope: float = 1.0
    limit: float | None = None
    overwrites: bool = False

    def __call__(
        self, x: Tensor, noise: Tensor | None = None, style: Tensor | None = None, demod: Tensor | None = None
    ) -> Tensor:
        """x [B, C, H, W], noise [B or 1, 1, H', W'], style [B, C, 1, 1], demod > 0 [B, C', 1, 1] -> [B, C', H', W'].

        Raises:
            TypeError: the weights ask for a gradient.
        """
        if torch.is_grad_enabled() and any(each.weight.requires_grad for each in self.filters):
            raise TypeError("The weights of a generator are frozen and have no gradient: leave requires_grad off.")
        noise = None if self.strength is None else noise
        if not is_enabled("layers", x.device):
            return self._by_torch(x, noise, style, demod)
        y: Tensor = _FrozenLayerFunction.apply(x, noise, style, demod, self)
        return y

    def _by_torch(self, x: Tensor, noise: Tensor | None, style: Tensor | None, demod: Tensor | None) -> Tensor:
        """The formula, one operation after the other."""
        if x.dtype.itemsize == 2:
            layer, noise, style, demod = self._cast_to(x.dtype, noise, style, demod)
            return layer._formula(x, noise, style, demod)
        return self._formula(x, noise, style, demod)

    def _formula(self, x: Tensor, noise: Tensor | None, style: Tensor | None, demod: Tensor | None) -> Tensor:
        x = x if style is None else x * style
        for each in self.filters:
            x = each(x)
        x = x if demod is None else x * demod
        x = x if noise is None or self.strength is None else x + noise * self.strength
        x = x if self.bias is None else x + self.bias[:, None, None]
        x = F.leaky_relu(x, self.slope)
        return x if self.limit is None else x.clamp(-self.limit, self.limit)

    def _cast_to(self, dtype: torch.dtype, *inputs: Tensor | None) -> tuple[Any, ...]:
        """With its bias and strength, and the inputs, in the type of 16-bit features: torch's own kernels mix none."""
        small = [None if each is None else each.to(dtype) for each in (self.bias, self.strength, *inputs)]
        return replace(self, bias=small[0], strength=small[1]), *small[2:]

    def pooled(self) -> FrozenLayer:
        """Its work on the averages of squares; without noise, whose average is nothing.

        There a depthwise filter is one factor a channel, and goes into the weights of its neighbour.
        """
        if not self.filters:
            return replace(self, strength=None)
        name = f"flat {[(each.up, each.depthwise) for each in self.filters]}"
        filters = cached(name, [each.weight for each in self.filters], self._pooled_filters)
        return replace(self, filters=filters, strength=None)

    def _pooled_filters(self) -> list[Convolution]:
        filters: list[Convolution] = []
        factors: Tensor | None = None
        for each in (one.pooled() for one in self.filters):
            if not each.depthwise:
                filters.append(each.scaled(factors, None))
                factors = None
            elif filters:
                filters[-1] = filters[-1].scaled(None, each.weight.view(1, -1, 1, 1))
            else:
                own = each.weight.view(1, -1, 1, 1)
                factors = own if factors is None else own * factors
        if factors is not None:  # there was no neighbour
            filters.append(Convolution(factors.view(-1, 1, 1, 1), depthwise=True))
        return filters

    def ll_band(self) -> FrozenLayer:
        """Only the first quarter of its output channels: the averages of an inverse Haar's squares."""
        count = self.filters[-1].weight.shape[0] // 4
        last = replace(self.filters[-1], weight=channels_last(self.filters[-1].weight[:count]))
        bias = None if self.bias is None else self.bias[:count]
        return replace(self, filters=[*self.filters[:-1], last], bias=bias)

    def convolve(self, x: Tensor, style: Tensor | None, demod: Tensor | None) -> tuple[Tensor, list[Size]]:
        """demod * L(x * style) + bias, and the size of what went into each filter."""
        if not self.filters:
            x = x.clone() if style is None else x * style
            return (x if self.bias is None else x.add_(self.bias[:, None, None])), []
        first, *rest = self.filters
        sizes = [_size(x)]
        if len(x) == 1 and first.weight.numel() <= x.numel():  # factors on the weights spare passes over the features
            first, style, demod = first.scaled(style, demod), None, None
        x = first(x if style is None else x * style, self.bias if demod is None and not rest else None)
        if demod is not None:
            x.mul_(demod)
        for index, each in enumerate(rest, 1):
            sizes.append(_size(x))
            x = each(x, self.bias if index == len(rest) else None)
        if demod is not None and self.bias is not None and not rest:
            x.add_(self.bias[:, None, None])
        return x, sizes

    def adjoint(self, grad: Tensor, demod: Tensor | None, sizes: Sequence[Size]) -> Tensor:
        """Of demod * L, whose filters are at least one."""
        for each, size in zip(self.filters[:0:-1], sizes[:0:-1], strict=True):
            grad = each.adjoint(grad, size)
        first = self.filters[0]
        if len(grad) == 1 and demod is not None and first.weight.numel() <= grad.numel():
            first, demod = first.scaled(None, demod), None
        return first.adjoint(grad if demod is None else grad * demod, sizes[0])


class _FrozenLayerFunction(torch.autograd.Function):
    """A layer, with its gradients written out."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, noise: Tensor | None, style: Tensor | None, demod: Tensor | None, layer: FrozenLayer
    ) -> Tensor:
        kernels, x = fused.select_kernels(x, style)
        if kernels is not None:
            return fused.forward(kernels, ctx, x, noise, style, demod, layer)
        if x.dtype.itemsize == 2:
            layer, noise, style, demod = layer._cast_to(x.dtype, noise, style, demod)
        y, ctx.sizes = layer.convolve(x, style, demod)
        if noise is not None and layer.strength is not None:
            if layer.strength.ndim == 4:
                y.addcmul_(noise, layer.strength)
            else:
                y.add_(noise * layer.strength)
        if layer.slope != 1:
            F.leaky_relu_(y, layer.slope)
        if layer.limit is not None:
            y.clamp_(-layer.limit, layer.limit)
        ctx.layer, ctx.kernels = layer, None
        needs_y = layer.slope != 1 or layer.limit is not None or demod is not None
        ctx.save_for_backward(None if style is None else x, y if needs_y else None, noise, style, demod)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.kernels is not None:
            return fused.backward(ctx, grad)
        layer: FrozenLayer = ctx.layer
        x, y, noise, style, demod = ctx.saved_tensors
        needs_x, needs_noise, needs_style, needs_demod, _ = ctx.needs_input_grad
        given, grad = grad, channels_last(grad)  # that of an image comes otherwise, and mixed layouts are slow
        if layer.limit is not None:
            grad = grad.masked_fill(y.abs() >= layer.limit, 0)
        may_overwrite = layer.overwrites or grad is not given  # else it may be somebody else's, too
        with_y = _dot(grad, y) if needs_demod else None
        if layer.slope != 1:
            grad, may_overwrite = _leaky_relu_backward(grad, y, layer.slope, in_place=may_overwrite), True
        grad_noise = grad_style = grad_demod = None
        if needs_noise and layer.strength is not None:
            grad_noise = (grad * layer.strength).sum(1, keepdim=True)
            grad_noise = grad_noise if len(noise) == len(grad) else grad_noise.sum(0, keepdim=True)
        if with_y is not None:
            grad_demod = _demod_grad(with_y, grad, noise, layer) / demod
        if (needs_x or needs_style) and layer.filters:
            grad, may_overwrite = layer.adjoint(grad, demod, ctx.sizes), True
        if needs_style:
            grad_style = _dot(grad, x)
        if needs_x and style is not None:
            grad = grad.mul_(style) if may_overwrite else grad * style
        return (grad if needs_x else None), grad_noise, grad_style, grad_demod, None


def _leaky_relu_backward(grad: Tensor, y: Tensor, slope: float, *, in_place: bool) -> Tensor:
    """The gradient of what was rectified; y, the result, has its sign."""
    backward = torch.ops.aten.leaky_relu_backward
    if in_place:
        backward.grad_input(grad, y, slope, True, grad_input=grad)
        return grad
    result: Tensor = backward(grad, y, slope, True)
    return result


def _demod_grad(with_y: Tensor, grad: Tensor, noise: Tensor | None, layer: FrozenLayer) -> Tensor:
    """[B, C, 1, 1]: sum(grad * u) for u = demod * L(x * style), which is not kept.

    As leaky'(v) v = leaky(v) = y, the sum over grad * v, v = u + noise * strength + bias, is with_y: that over y
    times the gradient of y.
    """
    total = with_y
    if layer.bias is not None:
        total = total - grad.sum((2, 3), keepdim=True) * layer.bias[:, None, None]
    if noise is not None and layer.strength is not None:
        total = total - (_flat(grad).mT @ _flat(noise)).unsqueeze(-1) * layer.strength
    return total


def _flat(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C], a view of channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The sums over each channel's pixels of a * b, [B, C, 1, 1]; on a CPU in slabs that stay in the cache."""
    rows = max(1, _SLAB // a[:, :, 0].numel()) if a.device.type == "cpu" else a.shape[2]
    slabs = zip(a.split(rows, 2), b.split(rows, 2), strict=True)
    dtype = torch.promote_types(a.dtype, torch.float32)
    sums = [(one * other).sum((2, 3), keepdim=True, dtype=dtype) for one, other in slabs]
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)


def _size(x: Tensor) -> Size:
    return x.shape[-2], x.shape[-1]

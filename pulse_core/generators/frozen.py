"""Layers of a frozen network, with hand-written gradients for their inputs and none for their weights.

torch's convolutions keep their input for a weight gradient that a search never needs, and each elementwise operation
between two of them is another pass over the features, forward and backward. A layer here,

    y = clamp(leaky(demod * L(x * style) + noise * strength + bias)),    L a chain of convolutions,

saves at most x and y for its gradients, and y is also the next layer's x. That saves memory and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..devices.optimizations import is_enabled, memory_format
from . import fused
from .base import channels_last, safe_layout
from .cudnn import SLOW_GRAD_SIDE, SLOW_UP_SIDE, is_slow_in_cudnn, subpixel_conv_transpose2d
from .derived import cached

Size = tuple[int, int]
_SLAB = 2**20  # elements


@dataclass(frozen=True)
class Convolution:
    """A convolution and its adjoint.

    weight: [out, in, kh, kw]; [C, 1, kh, kw] if depthwise; [in, out, kh, kw] if up.
    padding: (vertical, horizontal).
    up: a transposed convolution of stride 2.
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
        """The gradient [B, out, H', W'] of the result -> that of the input, [B, in, *size]."""
        if self.up:
            return F.conv2d(grad, safe_layout(self.weight), None, 2, self.padding)
        height, width = self.weight.shape[-2:]
        if self.depthwise:  # a convolution with flipped weights; the general way is up to eight times as slow on a CPU
            around = (height - 1 - self.padding[0], width - 1 - self.padding[1])
            flipped = cached("flipped", [self.weight], lambda: self.weight.flip(2, 3))
            return F.conv2d(grad, safe_layout(flipped), None, 1, around, groups=len(self.weight))
        if height == width == 1:  # the general way loses channels_last, which 1x1 weights do not determine
            transposed = safe_layout(self.weight.transpose(0, 1))
            if grad.device.type != "cpu":  # other devices would copy it at each step
                transposed = cached("transposed", [self.weight], transposed.contiguous)
            return F.conv2d(grad, transposed)
        if is_slow_in_cudnn(grad, SLOW_GRAD_SIDE):
            around = (height - 1 - self.padding[0], width - 1 - self.padding[1])
            return F.conv2d(grad, self.weight.flip(2, 3).transpose(0, 1).contiguous(), None, 1, around)
        shape = (len(grad), self.weight.shape[1], *size)
        # only the input's shape matters, but an input of another memory format would be copied
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

    def scaled(self, in_scale: Tensor | None, out_scale: Tensor | None) -> Convolution:
        """Folds factors [1, C, 1, 1] on the input and output channels into the weight."""
        weight = self.weight
        if in_scale is not None:
            weight = weight * (in_scale.view(-1, 1, 1, 1) if self.up or self.depthwise else in_scale)
        if out_scale is not None:
            weight = weight * (out_scale if self.up else out_scale.view(-1, 1, 1, 1))
        return replace(self, weight=weight)

    def pooled(self) -> Convolution:
        """The 1x1 convolution that acts on average-pooled features as this one acts on locally constant features."""
        weight = self.weight.sum((2, 3), keepdim=True)
        return Convolution(weight.transpose(0, 1) / 4) if self.up else Convolution(weight, depthwise=self.depthwise)


@dataclass(frozen=True)
class FrozenLayer:
    """The constants of a layer; see the module's formula.

    convolutions: the convolutions of L, in order. With a demodulation, those after the first must be depthwise, with
        one kernel for all channels.
    bias: [C], or None.
    strength: the noise strength, a scalar or [1, C, 1, 1]; None means no noise.
    slope: the negative slope of the LeakyReLU; 1 means no LeakyReLU.
    limit: the clamp of the result, symmetric around 0; None means no clamp.
    overwrites: backward may overwrite the gradient of the result, which saves memory. Must be False if the result is
        added to something, because autograd passes the same gradient to the other summand.
    """

    convolutions: Sequence[Convolution]
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
            TypeError: a weight requires a gradient.
        """
        if torch.is_grad_enabled() and any(each.weight.requires_grad for each in self.convolutions):
            raise TypeError("The weights of a generator are frozen and get no gradient: leave requires_grad off.")
        noise = None if self.strength is None else noise
        if not is_enabled("layers", x.device):
            return self._by_torch(x, noise, style, demod)
        y: Tensor = _FrozenLayerFunction.apply(x, noise, style, demod, self)
        return y

    def _by_torch(self, x: Tensor, noise: Tensor | None, style: Tensor | None, demod: Tensor | None) -> Tensor:
        """The formula in separate torch operations, with autograd's gradients."""
        if x.dtype.itemsize == 2:
            layer, noise, style, demod = self._cast_to(x.dtype, noise, style, demod)
            return layer._formula(x, noise, style, demod)
        return self._formula(x, noise, style, demod)

    def _formula(self, x: Tensor, noise: Tensor | None, style: Tensor | None, demod: Tensor | None) -> Tensor:
        x = x if style is None else x * style
        for each in self.convolutions:
            x = each(x)
        x = x if demod is None else x * demod
        x = x if noise is None or self.strength is None else x + noise * self.strength
        x = x if self.bias is None else x + self.bias[:, None, None]
        x = F.leaky_relu(x, self.slope)
        return x if self.limit is None else x.clamp(-self.limit, self.limit)

    def _cast_to(self, dtype: torch.dtype, *inputs: Tensor | None) -> tuple[Any, ...]:
        """Casts bias, strength and inputs to the type of 16-bit features, because torch's kernels do not mix types."""
        small = [None if each is None else each.to(dtype) for each in (self.bias, self.strength, *inputs)]
        return replace(self, bias=small[0], strength=small[1]), *small[2:]

    def pooled(self) -> FrozenLayer:
        """The layer that acts on average-pooled features, without upsampling and without noise, whose mean is zero.

        A depthwise convolution becomes one factor per channel, and is folded into the convolution next to it.
        """
        if not self.convolutions:
            return replace(self, strength=None)
        name = f"pooled {[(each.up, each.depthwise) for each in self.convolutions]}"
        convolutions = cached(name, [each.weight for each in self.convolutions], self._pooled_filters)
        return replace(self, convolutions=convolutions, strength=None)

    def _pooled_filters(self) -> list[Convolution]:
        convolutions: list[Convolution] = []
        factors: Tensor | None = None
        for each in (one.pooled() for one in self.convolutions):
            if not each.depthwise:
                convolutions.append(each.scaled(factors, None))
                factors = None
            elif convolutions:
                convolutions[-1] = convolutions[-1].scaled(None, each.weight.view(1, -1, 1, 1))
            else:
                own = each.weight.view(1, -1, 1, 1)
                factors = own if factors is None else own * factors
        if factors is not None:  # no other convolution to fold them into
            convolutions.append(Convolution(factors.view(-1, 1, 1, 1), depthwise=True))
        return convolutions

    def ll_band(self) -> FrozenLayer:
        """The layer with the first quarter of its output channels: the LL band of an inverse Haar transform."""
        count = self.convolutions[-1].weight.shape[0] // 4
        last = replace(self.convolutions[-1], weight=channels_last(self.convolutions[-1].weight[:count]))
        bias = None if self.bias is None else self.bias[:count]
        return replace(self, convolutions=[*self.convolutions[:-1], last], bias=bias)

    def convolve(self, x: Tensor, style: Tensor | None, demod: Tensor | None) -> tuple[Tensor, list[Size]]:
        """demod * L(x * style) + bias, and the input size of each convolution."""
        if not self.convolutions:
            x = x.clone() if style is None else x * style
            return (x if self.bias is None else x.add_(self.bias[:, None, None])), []
        first, *rest = self.convolutions
        sizes = [_size(x)]
        if len(x) == 1 and first.weight.numel() <= x.numel():  # scaling the weights saves passes over the features
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
        """The adjoint of demod * L, where L has at least one convolution."""
        for each, size in zip(self.convolutions[:0:-1], sizes[:0:-1], strict=True):
            grad = each.adjoint(grad, size)
        first = self.convolutions[0]
        if len(grad) == 1 and demod is not None and first.weight.numel() <= grad.numel():
            first, demod = first.scaled(None, demod), None
        return first.adjoint(grad if demod is None else grad * demod, sizes[0])


class _FrozenLayerFunction(torch.autograd.Function):
    """A FrozenLayer with hand-written gradients."""

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
        given, grad = grad, channels_last(grad)  # an image's gradient may differ, and mixed formats are slow
        if layer.limit is not None:
            grad = grad.masked_fill(y.abs() >= layer.limit, 0)
        may_overwrite = layer.overwrites or grad is not given  # else autograd may share it with another node
        grad_dot_y = _dot(grad, y) if needs_demod else None
        if layer.slope != 1:
            grad, may_overwrite = _leaky_relu_backward(grad, y, layer.slope, in_place=may_overwrite), True
        grad_noise = grad_style = grad_demod = None
        if needs_noise and layer.strength is not None:
            grad_noise = (grad * layer.strength).sum(1, keepdim=True)
            grad_noise = grad_noise if len(noise) == len(grad) else grad_noise.sum(0, keepdim=True)
        if grad_dot_y is not None:
            grad_demod = _demod_grad(grad_dot_y, grad, noise, layer) / demod
        if (needs_x or needs_style) and layer.convolutions:
            grad, may_overwrite = layer.adjoint(grad, demod, ctx.sizes), True
        if needs_style:
            grad_style = _dot(grad, x)
        if needs_x and style is not None:
            grad = grad.mul_(style) if may_overwrite else grad * style
        return (grad if needs_x else None), grad_noise, grad_style, grad_demod, None


def _leaky_relu_backward(grad: Tensor, y: Tensor, slope: float, *, in_place: bool) -> Tensor:
    """The gradient of LeakyReLU's input; its result y has the same sign."""
    backward = torch.ops.aten.leaky_relu_backward
    if in_place:
        backward.grad_input(grad, y, slope, True, grad_input=grad)
        return grad
    result: Tensor = backward(grad, y, slope, True)
    return result


def _demod_grad(grad_dot_y: Tensor, grad: Tensor, noise: Tensor | None, layer: FrozenLayer) -> Tensor:
    """[B, C, 1, 1]: the sum over pixels of grad * u, where u = demod * L(x * style) is not saved.

    grad is the gradient of v = u + noise * strength + bias. Since leaky'(v) v = leaky(v) = y, the sum of grad * v is
    that of y times its own gradient, which is `grad_dot_y`.
    """
    total = grad_dot_y
    if layer.bias is not None:
        total = total - grad.sum((2, 3), keepdim=True) * layer.bias[:, None, None]
    if noise is not None and layer.strength is not None:
        by_pixel = "b c h w -> b (h w) c"  # a view of channels_last features
        total = total - (rearrange(grad, by_pixel).mT @ rearrange(noise, by_pixel)).unsqueeze(-1) * layer.strength
    return total


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of a * b over the pixels of each channel, [B, C, 1, 1]; on a CPU in slabs that fit into the cache."""
    rows = max(1, _SLAB // a[:, :, 0].numel()) if a.device.type == "cpu" else a.shape[2]
    slabs = zip(a.split(rows, 2), b.split(rows, 2), strict=True)
    dtype = torch.promote_types(a.dtype, torch.float32)
    sums = [(one * other).sum((2, 3), keepdim=True, dtype=dtype) for one, other in slabs]
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)


def _size(x: Tensor) -> Size:
    return x.shape[-2], x.shape[-1]

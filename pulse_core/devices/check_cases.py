"""The kinds of layers that device_check.py tries, each in a size that takes no time.

To add one: a function that draws what it needs and returns what it computes, and its entry in CASES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..degradations.bicubic import BicubicDownsample
from ..generators.base import safe_layout
from ..generators.frozen import Convolution, FrozenLayer
from ..generators.mapping import SLOPE
from ..generators.mobilestylegan import inverse_haar
from ..generators.resampling import firdown, upfir
from ..generators.stylegan1 import adain
from .optimizations import memory_format

SIZE = (6, 10)  # height and width of the features
LIMIT = 1.5
_NEAR = 1e-3  # of a kink: there a gradient hangs on rounding


class RandomInputs:
    """Random tensors on a device, the same numbers on all of them.

    inputs: those drawn so far whose gradients count.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self.device, self.dtype, self.inputs = device, dtype, list[Tensor]()
        self._random = torch.Generator().manual_seed(0)

    def constant(self, *shape: int, scale: float = 1.0) -> Tensor:
        """A tensor without gradient; [B, C, H, W] as weights lie in memory."""
        drawn = (torch.randn(shape, generator=self._random, dtype=torch.float64) * scale).to(self.dtype)
        if drawn.ndim == 4:
            drawn = drawn.contiguous(memory_format=memory_format(drawn))
        return drawn.to(self.device)

    def weight(self, *shape: int) -> Tensor:
        """Of a convolution, [out, in, h, w], so that its result is about as large as what goes in."""
        return self.constant(*shape, scale=float(torch.Size(shape[1:]).numel()) ** -0.5)

    def variable(self, *shape: int) -> Tensor:
        """An input whose gradient counts."""
        drawn = self.constant(*shape).requires_grad_()
        self.inputs.append(drawn)
        return drawn

    def positive(self, *shape: int) -> Tensor:
        """One above 0, as a demodulation is."""
        drawn = (self.constant(*shape).abs() + 0.5).requires_grad_()
        self.inputs.append(drawn)
        return drawn


@dataclass(frozen=True)
class Case:
    """A kind of layer. families: that have it; none stands for all. make(random, images, channels in, channels out)."""

    name: str
    families: tuple[str, ...]
    make: Callable[[RandomInputs, int, int, int], Tensor]

    def step(self, random: RandomInputs, images: int, in_channels: int, out_channels: int) -> list[Tensor]:
        """What it computes, and the gradients of its inputs for a random one of that, which lies contiguously."""
        result = self.make(random, images, in_channels, out_channels)
        cotangent = random.constant(*result.shape).contiguous()
        cotangent = cotangent * (result.detach().abs() > _NEAR)
        return [result.detach(), *torch.autograd.grad(result, random.inputs, cotangent)]


def _features(random: RandomInputs, images: int, channels: int) -> Tensor:
    return random.variable(images, channels, *SIZE)


def _plain(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    filters = (Convolution(random.weight(out_channels, in_channels, 3, 3), (1, 1)),)
    layer = FrozenLayer(
        filters, random.constant(out_channels), random.constant(1, out_channels, 1, 1), SLOPE, overwrites=True
    )
    return layer(_features(random, images, in_channels), random.variable(1, 1, *SIZE))


def _modulated(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    filters = (Convolution(random.weight(out_channels, in_channels, 3, 3), (1, 1)),)
    return _styled(random, filters, images, in_channels, out_channels, SIZE)


def _modulated_up(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    blur = Convolution(random.weight(out_channels, 1, 4, 4), (1, 1), depthwise=True)
    filters = (Convolution(random.weight(in_channels, out_channels, 3, 3), up=True), blur)
    return _styled(random, filters, images, in_channels, out_channels, (2 * SIZE[0], 2 * SIZE[1]))


def _styled(
    random: RandomInputs,
    filters: Sequence[Convolution],
    images: int,
    in_channels: int,
    out_channels: int,
    size: tuple[int, int],
) -> Tensor:
    """With all that a layer may have, the clamp included, and then the same on averages."""
    layer = FrozenLayer(filters, random.constant(out_channels), random.constant(), SLOPE, LIMIT, overwrites=True)
    x, noise = _features(random, images, in_channels), random.variable(images, 1, *size)
    style, demod = random.variable(images, in_channels, 1, 1), random.positive(images, out_channels, 1, 1)
    whole, flat = layer(x, noise, style, demod), layer.pooled()(x, None, style, demod)
    return torch.cat([whole.flatten(1), flat.flatten(1)], 1)


def _up_blurred(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    blur = Convolution(random.weight(out_channels, 1, 3, 3), (1, 1), depthwise=True)
    filters = (Convolution(random.weight(in_channels, out_channels, 4, 4), (1, 1), up=True), blur)
    return FrozenLayer(filters, random.constant(out_channels), None, SLOPE, overwrites=True)(
        _features(random, images, in_channels)
    )


def _separable(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    depthwise = Convolution(random.weight(in_channels, 1, 3, 3), (1, 1), depthwise=True)
    layer = FrozenLayer(
        (depthwise, Convolution(random.weight(out_channels, in_channels, 1, 1))),
        random.constant(out_channels),
        None,
        SLOPE,
    )
    return layer(_features(random, images, in_channels), style=random.variable(images, in_channels, 1, 1))


def _colours(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    layer = FrozenLayer((Convolution(random.weight(3, in_channels, 1, 1)),), random.constant(3))
    return layer(_features(random, images, in_channels), style=random.variable(images, in_channels, 1, 1)).contiguous()


def _haar(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    return inverse_haar(_features(random, images, 4 * in_channels), random.variable(images, 4 * in_channels, 1, 1))


def _norm(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    scale, shift = random.variable(images, in_channels), random.variable(images, in_channels)
    return adain(_features(random, images, in_channels) + 0.5, scale, shift, 1e-5)


def _resampled(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    x, row, square = (
        _features(random, images, 4 - in_channels % 2),
        random.constant(5),
        random.constant(4, 4),
    )  # few: they take long
    up, down = upfir(x, row, 2, (2, 2, 2, 2)), firdown(x, square, 2, (1, 2, 1, 1))
    radial = firdown(upfir(x, square, 2, (2, 1, 2, 1)), row)
    return torch.cat([part.flatten(1) for part in (up, down, radial)], 1)


def _alias_free(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    style, factor = random.variable(images, in_channels, 1, 1), random.positive(images, out_channels, 1, 1)
    x = _features(random, images, in_channels) * style
    x = F.conv2d(x, safe_layout(random.weight(out_channels, in_channels, 3, 3)), padding=2)
    return F.leaky_relu(torch.addcmul(random.constant(out_channels)[:, None, None], x, factor), SLOPE)


def _dense(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    x = F.linear(
        random.variable(images, in_channels), random.constant(out_channels, in_channels), random.constant(out_channels)
    )
    return F.leaky_relu(x, SLOPE)


def _downsampled(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    return BicubicDownsample(size=(3, 5)).forward(random.variable(images, 3, 4 * SIZE[0], 3 * SIZE[1]).contiguous())


CASES: tuple[Case, ...] = (
    Case("a dense layer", (), _dense),
    Case("the bicubic downscaling", (), _downsampled),
    Case("a 3x3 convolution with noise", ("stylegan1",), _plain),
    Case("an upsampling convolution with a blur", ("stylegan1",), _up_blurred),
    Case("the instance norm", ("stylegan1",), _norm),
    Case("a modulated 3x3 convolution", ("stylegan2", "mobilestylegan"), _modulated),
    Case("a modulated upsampling convolution", ("stylegan2",), _modulated_up),
    Case("a separable convolution", ("mobilestylegan",), _separable),
    Case("the inverse Haar transform", ("mobilestylegan",), _haar),
    Case("a 1x1 convolution", ("stylegan1", "stylegan2", "mobilestylegan"), _colours),
    Case("resampling filters", ("stylegan2", "stylegan3"), _resampled),
    Case("an alias-free layer", ("stylegan3",), _alias_free),
)

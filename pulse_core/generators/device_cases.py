"""The kinds of layers that check.py tries, each in a tiny size.

To add one, write a function that draws its inputs and returns its result, and list it in CASES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..degradations.bicubic import BicubicDownsample
from ..devices.optimizations import memory_format
from .base import safe_layout
from .frozen import Convolution, FrozenLayer
from .mapping import SLOPE
from .mobilestylegan import inverse_haar
from .resampling import firdown, upfir
from .stylegan1 import adain

SIZE = (6, 10)  # height and width of the features
LIMIT = 1.5
_KINK = 1e-3  # results closer to zero than this get no gradient: rounding decides on which side of a kink they are


class RandomInputs:
    """Random tensors on a device, with the same values on every device.

    Attributes:
        inputs: the tensors drawn so far that require a gradient.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self.device, self.dtype, self.inputs = device, dtype, list[Tensor]()
        self._random = torch.Generator().manual_seed(0)

    def constant(self, *shape: int, scale: float = 1.0) -> Tensor:
        """A tensor without a gradient; [B, C, H, W] in the memory format of weights."""
        drawn = (torch.randn(shape, generator=self._random, dtype=torch.float64) * scale).to(self.dtype)
        if drawn.ndim == 4:
            drawn = drawn.contiguous(memory_format=memory_format(drawn))
        return drawn.to(self.device)

    def weight(self, *shape: int) -> Tensor:
        """A convolution weight [out, in, h, w], scaled to keep the variance of the features."""
        return self.constant(*shape, scale=float(torch.Size(shape[1:]).numel()) ** -0.5)

    def variable(self, *shape: int) -> Tensor:
        """An input that requires a gradient."""
        drawn = self.constant(*shape).requires_grad_()
        self.inputs.append(drawn)
        return drawn

    def positive(self, *shape: int) -> Tensor:
        """An input above 0.5 that requires a gradient, such as a demodulation factor."""
        drawn = (self.constant(*shape).abs() + 0.5).requires_grad_()
        self.inputs.append(drawn)
        return drawn


@dataclass(frozen=True)
class Case:
    """A kind of layer.

    Args:
        families: the generator families that have it; empty means all.
        make: (random, images, in_channels, out_channels) -> the layer's result.
    """

    name: str
    families: tuple[str, ...]
    make: Callable[[RandomInputs, int, int, int], Tensor]

    def step(self, random: RandomInputs, images: int, in_channels: int, out_channels: int) -> list[Tensor]:
        """The result, and the gradients of the inputs for a random contiguous gradient of the result."""
        result = self.make(random, images, in_channels, out_channels)
        cotangent = random.constant(*result.shape).contiguous()
        cotangent = cotangent * (result.detach().abs() > _KINK)
        return [result.detach(), *torch.autograd.grad(result, random.inputs, cotangent)]


def _features(random: RandomInputs, images: int, channels: int) -> Tensor:
    return random.variable(images, channels, *SIZE)


def _plain(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    convolutions = (Convolution(random.weight(out_channels, in_channels, 3, 3), (1, 1)),)
    layer = FrozenLayer(
        convolutions, random.constant(out_channels), random.constant(1, out_channels, 1, 1), SLOPE, overwrites=True
    )
    return layer(_features(random, images, in_channels), random.variable(1, 1, *SIZE))


def _modulated(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    convolutions = (Convolution(random.weight(out_channels, in_channels, 3, 3), (1, 1)),)
    return _modulated_with(random, convolutions, images, in_channels, out_channels, SIZE)


def _modulated_up(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    blur = Convolution(random.weight(out_channels, 1, 4, 4), (1, 1), depthwise=True)
    convolutions = (Convolution(random.weight(in_channels, out_channels, 3, 3), up=True), blur)
    return _modulated_with(random, convolutions, images, in_channels, out_channels, (2 * SIZE[0], 2 * SIZE[1]))


def _modulated_with(
    random: RandomInputs,
    convolutions: Sequence[Convolution],
    images: int,
    in_channels: int,
    out_channels: int,
    size: tuple[int, int],
) -> Tensor:
    """A layer with every part, the clamp included, and its pooled version."""
    layer = FrozenLayer(convolutions, random.constant(out_channels), random.constant(), SLOPE, LIMIT, overwrites=True)
    x, noise = _features(random, images, in_channels), random.variable(images, 1, *size)
    style, demod = random.variable(images, in_channels, 1, 1), random.positive(images, out_channels, 1, 1)
    whole, flat = layer(x, noise, style, demod), layer.pooled()(x, None, style, demod)
    return torch.cat([whole.flatten(1), flat.flatten(1)], 1)


def _up_blurred(random: RandomInputs, images: int, in_channels: int, out_channels: int) -> Tensor:
    blur = Convolution(random.weight(out_channels, 1, 3, 3), (1, 1), depthwise=True)
    convolutions = (Convolution(random.weight(in_channels, out_channels, 4, 4), (1, 1), up=True), blur)
    return FrozenLayer(convolutions, random.constant(out_channels), None, SLOPE, overwrites=True)(
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
    )  # few channels: this case is slow
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
    Case("bicubic downsampling", (), _downsampled),
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

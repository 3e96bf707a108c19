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
from ..generators.base import as_read
from ..generators.frozen import Filter, Layer
from ..generators.mapping import SLOPE
from ..generators.mobilestylegan import inverse_haar
from ..generators.resampling import firdown, upfir
from ..generators.stylegan1 import normalised
from .optimizations import memory_format

SIDES = (6, 10)  # height and width of the features
LIMIT = 1.5
_NEAR = 1e-3  # of a kink: there a gradient hangs on rounding


class Draw:
    """Random tensors on a device, the same numbers on all of them.

    inputs: those drawn so far whose gradients count.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self.device, self.dtype, self.inputs = device, dtype, list[Tensor]()
        self._random = torch.Generator().manual_seed(0)

    def fixed(self, *shape: int, scale: float = 1.0) -> Tensor:
        """A tensor without gradient; [B, C, H, W] as weights lie in memory."""
        drawn = (torch.randn(shape, generator=self._random, dtype=torch.float64) * scale).to(self.dtype)
        if drawn.ndim == 4:
            drawn = drawn.contiguous(memory_format=memory_format(drawn))
        return drawn.to(self.device)

    def weight(self, *shape: int) -> Tensor:
        """Of a convolution, [out, in, h, w], so that its result is about as large as what goes in."""
        return self.fixed(*shape, scale=float(torch.Size(shape[1:]).numel()) ** -0.5)

    def moving(self, *shape: int) -> Tensor:
        """An input whose gradient counts."""
        drawn = self.fixed(*shape).requires_grad_()
        self.inputs.append(drawn)
        return drawn

    def positive(self, *shape: int) -> Tensor:
        """One above 0, as a demodulation is."""
        drawn = (self.fixed(*shape).abs() + 0.5).requires_grad_()
        self.inputs.append(drawn)
        return drawn


@dataclass(frozen=True)
class Case:
    """A kind of layer. families: that have it; none stands for all. make(draw, images, channels in, channels out)."""

    name: str
    families: tuple[str, ...]
    make: Callable[[Draw, int, int, int], Tensor]

    def step(self, draw: Draw, images: int, before: int, behind: int) -> list[Tensor]:
        """What it computes, and the gradients of its inputs for a random one of that, which lies contiguously."""
        result = self.make(draw, images, before, behind)
        towards = draw.fixed(*result.shape).contiguous()
        towards = towards * (result.detach().abs() > _NEAR)
        return [result.detach(), *torch.autograd.grad(result, draw.inputs, towards)]


def _features(draw: Draw, images: int, channels: int) -> Tensor:
    return draw.moving(images, channels, *SIDES)


def _plain(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    filters = (Filter(draw.weight(behind, before, 3, 3), (1, 1)),)
    layer = Layer(filters, draw.fixed(behind), draw.fixed(1, behind, 1, 1), SLOPE, overwrites=True)
    return layer(_features(draw, images, before), draw.moving(1, 1, *SIDES))


def _modulated(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    filters = (Filter(draw.weight(behind, before, 3, 3), (1, 1)),)
    return _styled(draw, filters, images, before, behind, SIDES)


def _modulated_up(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    blur = Filter(draw.weight(behind, 1, 4, 4), (1, 1), depthwise=True)
    filters = (Filter(draw.weight(before, behind, 3, 3), up=True), blur)
    return _styled(draw, filters, images, before, behind, (2 * SIDES[0], 2 * SIDES[1]))


def _styled(
    draw: Draw, filters: Sequence[Filter], images: int, before: int, behind: int, sides: tuple[int, int]
) -> Tensor:
    """With all that a layer may have, the clamp included, and then the same on averages."""
    layer = Layer(filters, draw.fixed(behind), draw.fixed(), SLOPE, LIMIT, overwrites=True)
    x, noise = _features(draw, images, before), draw.moving(images, 1, *sides)
    style, demod = draw.moving(images, before, 1, 1), draw.positive(images, behind, 1, 1)
    whole, flat = layer(x, noise, style, demod), layer.flat()(x, None, style, demod)
    return torch.cat([whole.flatten(1), flat.flatten(1)], 1)


def _up_blurred(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    blur = Filter(draw.weight(behind, 1, 3, 3), (1, 1), depthwise=True)
    filters = (Filter(draw.weight(before, behind, 4, 4), (1, 1), up=True), blur)
    return Layer(filters, draw.fixed(behind), None, SLOPE, overwrites=True)(_features(draw, images, before))


def _separable(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    depthwise = Filter(draw.weight(before, 1, 3, 3), (1, 1), depthwise=True)
    layer = Layer((depthwise, Filter(draw.weight(behind, before, 1, 1))), draw.fixed(behind), None, SLOPE)
    return layer(_features(draw, images, before), style=draw.moving(images, before, 1, 1))


def _colours(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    layer = Layer((Filter(draw.weight(3, before, 1, 1)),), draw.fixed(3))
    return layer(_features(draw, images, before), style=draw.moving(images, before, 1, 1)).contiguous()


def _haar(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    return inverse_haar(_features(draw, images, 4 * before), draw.moving(images, 4 * before, 1, 1))


def _norm(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    scale, shift = draw.moving(images, before), draw.moving(images, before)
    return normalised(_features(draw, images, before) + 0.5, scale, shift, 1e-5)


def _resampled(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    x, row, square = _features(draw, images, 4 - before % 2), draw.fixed(5), draw.fixed(4, 4)  # few: they take long
    up, down = upfir(x, row, 2, (2, 2, 2, 2)), firdown(x, square, 2, (1, 2, 1, 1))
    radial = firdown(upfir(x, square, 2, (2, 1, 2, 1)), row)
    return torch.cat([part.flatten(1) for part in (up, down, radial)], 1)


def _alias_free(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    style, factor = draw.moving(images, before, 1, 1), draw.positive(images, behind, 1, 1)
    x = _features(draw, images, before) * style
    x = F.conv2d(x, as_read(draw.weight(behind, before, 3, 3)), padding=2)
    return F.leaky_relu(torch.addcmul(draw.fixed(behind)[:, None, None], x, factor), SLOPE)


def _dense(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    x = F.linear(draw.moving(images, before), draw.fixed(behind, before), draw.fixed(behind))
    return F.leaky_relu(x, SLOPE)


def _downsampled(draw: Draw, images: int, before: int, behind: int) -> Tensor:
    return BicubicDownsample(size=(3, 5)).forward(draw.moving(images, 3, 4 * SIDES[0], 3 * SIDES[1]).contiguous())


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

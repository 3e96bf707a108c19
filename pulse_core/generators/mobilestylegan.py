"""MobileStyleGAN (Belousov 2021, arXiv 2104.04767): a distilled StyleGAN2 that upsamples by inverse Haar transforms.

The synthesis network is a constant, a full convolution, blocks of (modulation, inverse Haar transform, two separable
modulated convolutions), and a modulated 1x1 convolution to the last Haar bands. Demodulation is constant after
distillation, and part of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..checkpoints.stored import Stored
from ..devices.optimizations import is_enabled, memory_format
from . import fused
from .base import Generator, SynthesisNetwork, channels_last
from .frozen import Convolution, FrozenLayer
from .mapping import SLOPE, DenseMapping, MappingNetwork, take_layers
from .styles import AffineMap, styles
from .tensors import TensorBag

MAPPING_GAIN = 2**0.5


def inverse_haar(bands: Tensor, style: Tensor | None = None) -> Tensor:
    """Bands [B, 4C, H, W] (ll, lh, hl, hh) times style [B, 4C, 1, 1] -> [B, C, 2H, 2W], without the factor 1/2."""
    kernels, bands = fused.select_kernels(bands, style) if is_enabled("layers", bands.device) else (None, bands)
    if kernels is not None:
        image: Tensor = fused.Haar.apply(bands, style, kernels)
    else:
        image = InverseHaar.apply(bands if style is None else FrozenLayer((), overwrites=True)(bands, style=style))
    return image


class InverseHaar(torch.autograd.Function):
    """Bands [B, 4C, H, W] (ll, lh, hl, hh) -> [B, C, 2H, 2W], without the factor 1/2, in plain torch.

    Up to that factor the transform is orthogonal, so its gradient is the forward transform: the same four sums.
    Written by hand, it takes a third of autograd's time and memory.
    """

    @staticmethod
    def forward(ctx: Any, bands: Tensor) -> Tensor:
        ll, lh, hl, hh = bands.chunk(4, dim=1)
        channels, height, width = ll.shape[1:]
        image = _empty_like(bands, channels, 2 * height, 2 * width)
        even, odd = ll + lh, hl + hh
        torch.add(even, odd, out=image[:, :, 0::2, 0::2])
        torch.sub(even, odd, out=image[:, :, 0::2, 1::2])
        torch.sub(ll, lh, out=even)
        torch.sub(hl, hh, out=odd)
        torch.add(even, odd, out=image[:, :, 1::2, 0::2])
        torch.sub(even, odd, out=image[:, :, 1::2, 1::2])
        return image

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        a, b = grad[:, :, 0::2, 0::2], grad[:, :, 0::2, 1::2]
        c, d = grad[:, :, 1::2, 0::2], grad[:, :, 1::2, 1::2]
        channels, height, width = a.shape[1:]
        bands = _empty_like(grad, 4 * channels, height, width)
        ll, lh, hl, hh = bands.chunk(4, dim=1)
        top, bottom = a + b, c + d
        torch.add(top, bottom, out=ll)
        torch.sub(top, bottom, out=lh)
        torch.sub(a, b, out=top)
        torch.sub(c, d, out=bottom)
        torch.add(top, bottom, out=hl)
        torch.sub(top, bottom, out=hh)
        return bands


def _empty_like(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    shape = (x.shape[0], channels, height, width)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def band_order(channels: int) -> Tensor:
    """[4C]: a checkpoint's channel for each of (ll, lh, hl, hh); it stores all ll, then (lh, hl, hh) per channel."""
    details = rearrange(torch.arange(channels, 4 * channels), "(c band) -> (band c)", band=3)
    return torch.cat([torch.arange(channels), details])


class Affine(nn.Module):
    """w [B, w_dim] -> style [B, C], the factors of a modulation."""

    def __init__(self, bag: TensorBag, prefix: str, channels: int, w_dim: int):
        super().__init__()
        self.weight = nn.Parameter(bag.take(f"{prefix}.affine.weight", channels, w_dim))
        self.bias = nn.Parameter(bag.take(f"{prefix}.affine.bias", channels))

    def to_bands(self) -> None:
        """Reorders its output for the inverse Haar transform that follows, and takes over its factor 1/2."""
        order = band_order(self.bias.numel() // 4)
        self.weight, self.bias = nn.Parameter(self.weight[order] / 2), nn.Parameter(self.bias[order] / 2)

    def map_of(self, latent: int, count: int | None = None) -> AffineMap:
        """The affine map of the latent with this index; of the first `count` channels if given."""
        return AffineMap(self.weight, self.bias, latent, len(self.bias) if count is None else count)


class StyledConv(nn.Module):
    """Modulation, (depthwise 3x3 and) convolution, noise, bias, LeakyReLU."""

    def __init__(self, bag: TensorBag, prefix: str, in_channels: int, out_channels: int, w_dim: int):
        super().__init__()
        separable = f"{prefix}.depthwise" in bag
        weight = bag.take(f"{prefix}.weight", out_channels, in_channels, *([1, 1] if separable else [3, 3]))
        self.out_channels, self.in_channels = out_channels, in_channels
        self.depthwise = (
            nn.Parameter(channels_last(bag.take(f"{prefix}.depthwise", in_channels, 1, 3, 3))) if separable else None
        )
        self.weight = nn.Parameter(channels_last(weight))
        self.bias = nn.Parameter(bag.take(f"{prefix}.bias", out_channels))
        self.noise_strength = nn.Parameter(bag.take(f"{prefix}.noise_strength"))
        self.affine = Affine(bag, prefix, in_channels, w_dim)

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The convolution, after the depthwise one if there is one."""
        padding = self.weight.shape[-1] // 2
        convolution = Convolution(self.weight, padding=(padding, padding))
        if self.depthwise is None:
            return (convolution,)
        return Convolution(self.depthwise, padding=(1, 1), depthwise=True), convolution

    def to_bands(self) -> None:
        """Reorders the output channels for the inverse Haar transform that follows."""
        order = band_order(self.out_channels // 4)
        self.weight, self.bias = nn.Parameter(channels_last(self.weight[order])), nn.Parameter(self.bias[order])

    def forward(
        self, x: Tensor, style: Tensor, noise: Tensor | None, pooled: bool = False, ll_only: bool = False
    ) -> Tensor:
        """pooled: on average-pooled features. ll_only: return only the LL band, all that a pooled block needs."""
        layer = FrozenLayer(self.convolutions, self.bias, self.noise_strength, SLOPE, overwrites=True)
        layer = layer.pooled() if pooled else layer
        return (layer.ll_band() if ll_only else layer)(x, noise, style[:, :, None, None])


class Block(nn.Module):
    """Upsampling by 2: modulation, inverse Haar transform, two styled convolutions."""

    def __init__(self, bag: TensorBag, prefix: str, in_channels: int, out_channels: int, w_dim: int):
        super().__init__()
        self.up = Affine(bag, f"{prefix}.up", in_channels, w_dim)
        self.up.to_bands()
        inner = bag.shape(f"{prefix}.conv1.weight", 4)[1]
        self.conv0 = StyledConv(bag, f"{prefix}.conv0", in_channels // 4, inner, w_dim)
        self.conv1 = StyledConv(bag, f"{prefix}.conv1", inner, out_channels, w_dim)

    def maps(self, first: int, pooled: bool) -> tuple[AffineMap, ...]:
        """Its styles, of the latents `first` and the next one."""
        up = self.up.map_of(first, self.conv0.in_channels if pooled else None)
        return up, self.conv0.affine.map_of(first), self.conv1.affine.map_of(first + 1)

    def forward(
        self,
        x: Tensor,
        styles: Sequence[Tensor],
        noise: Sequence[Tensor | None],
        pooled: bool = False,
        ll_only: bool = False,
    ) -> Tensor:
        """pooled: on average-pooled features, without upsampling; see SynthesisNetwork.render_low_resolution.

        x: all bands; the LL band is enough for a pooled block. ll_only: return only that, for a pooled next block.
        """
        up = styles[0][:, :, None, None]
        x = (
            FrozenLayer((), overwrites=True)(x[:, : self.conv0.in_channels], style=up)
            if pooled
            else inverse_haar(x, up)
        )
        x = self.conv0(x, styles[1], noise[0], pooled)
        return self.conv1(x, styles[2], noise[1], pooled, ll_only)


class MobileSynthesis(SynthesisNetwork):
    """ws -> image. ws[0] styles the first convolution, ws[2i+1] and ws[2i+2] block i, the last the output."""

    has_low_resolution = True

    def __init__(self, bag: TensorBag, w_dim: int):
        const = bag.take("synthesis.const", -1, -1, -1)
        sizes = [(const.shape[1], const.shape[2])]  # of each block's input, and of the last block's output
        widths: list[int] = []  # input channels of each block and of to_image; an inverse Haar turns 4 into 1
        while f"synthesis.block{len(widths)}.conv0.weight" in bag:
            widths.append(4 * bag.shape(f"synthesis.block{len(widths)}.conv0.weight", 4)[1])
            sizes.append((bag.check_side(2 * sizes[-1][0]), bag.check_side(2 * sizes[-1][1])))
        count = len(widths)
        widths.append(bag.shape("synthesis.to_image.weight", 4)[1])
        names = ["conv", *(f"block{i}.{conv}" for i in range(count) for conv in ("conv0", "conv1"))]
        shapes = [sizes[0], *(size for size in sizes[1:] for _ in range(2))]
        maps = zip(names, shapes, strict=True)
        consts = [bag.take_optional(f"synthesis.{name}.noise_const", *shape) for name, shape in maps]
        size = (bag.check_side(2 * sizes[-1][0]), bag.check_side(2 * sizes[-1][1]))
        sides = [max(shape) for shape in (*shapes, shapes[-1])]
        super().__init__(w_dim, 2 * count + 2, size, 3, shapes, consts, sides)
        self.const = nn.Parameter(channels_last(const[None]))
        self.conv = StyledConv(bag, "synthesis.conv", const.shape[0], widths[0], w_dim)
        blocks, source = [], self.conv
        for index in range(count):
            block = Block(bag, f"synthesis.block{index}", widths[index], widths[index + 1], w_dim)
            source.to_bands()
            source = block.conv1
            blocks.append(block)
        self.blocks = nn.ModuleList(blocks)
        self.to_image_affine = Affine(bag, "synthesis.to_image", widths[-1], w_dim)
        order = band_order(3)
        weight = bag.take("synthesis.to_image.weight", 12, widths[-1], 1, 1)
        self.to_image_weight = nn.Parameter(channels_last(weight[order] / 2))
        self.to_image_bias = nn.Parameter(bag.take("synthesis.to_image.bias", 12)[order] / 2)

    def render_low_resolution(self, ws: Tensor, noise: Sequence[Tensor | None], side: int) -> Tensor:
        """See SynthesisNetwork."""
        pooled = [self.style_sides[2 * index + 1] > side for index in range(len(self.blocks))]
        maps = [self.conv.affine.map_of(0)]
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            maps += block.maps(2 * index + 1, pooled[index])
        first, *between, last = styles([*maps, self.to_image_affine.map_of(self.num_ws - 1)], ws)
        x = self.conv(self.const, first, noise[0])
        for index, block in enumerate(self.blocks):
            own = between[3 * index : 3 * index + 3], noise[2 * index + 1 : 2 * index + 3]
            x = self.run_block(block, x, *own, pooled[index], index + 1 < len(self.blocks) and pooled[index + 1])
        layer, is_full = (
            FrozenLayer((Convolution(self.to_image_weight),), self.to_image_bias),
            self.img_resolution <= side,
        )
        bands = (layer if is_full else layer.ll_band())(x, style=last[:, :, None, None])
        image: Tensor = inverse_haar(bands) if is_full else bands
        return image.contiguous()


class MobileStyleGAN(Generator):
    """See the module's docstring."""

    family = "mobilestylegan"

    @staticmethod
    def recognises(tensors: Stored) -> bool:
        """By the separable convolutions, which no other family has."""
        return "synthesis.block0.conv0.depthwise" in tensors

    @staticmethod
    def build(bag: TensorBag) -> tuple[MappingNetwork, SynthesisNetwork]:
        """Builds both networks; the family has no settings."""
        w_dim = bag.shape("synthesis.conv.affine.weight", 2)[1]
        synthesis = MobileSynthesis(bag, w_dim)
        layers, w_avg = take_layers(bag, "mapping.fc", w_dim), bag.take_optional("mapping.w_avg", w_dim)
        return DenseMapping(layers, synthesis.num_ws, MAPPING_GAIN, w_avg=w_avg), synthesis

"""StyleGAN3 (Karras et al. 2021, arXiv 2106.12423), configurations T and R: alias-free, without noise inputs.

The input is Fourier features, rotated and translated by a learned affine layer of w and by a transform that users may
set. A layer is a modulated convolution, a bias, and a LeakyReLU at twice the sampling rate, between an upsampling and a
downsampling filter that the checkpoint stores (section 3, appendix F).

Layer names hold the sizes: L{index}_{width}_{channels}. All layers but the last two have a margin around the image, so
a sampling rate is a size without its margins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.stored import Stored
from ..errors import CheckpointError
from .base import Generator, SynthesisNetwork, channels_last, safe_layout
from .layers import ACT_GAIN, DEMOD_EPS, Affine, fan_in_gain, nvlabs_mapping, squared_norms
from .mapping import SLOPE, MappingNetwork
from .resampling import firdown, upfir
from .stylegan3_settings import (
    LAYER,
    LRELU_UPSAMPLING,
    MAX_BANDWIDTH,
    MAX_UPSAMPLING,
    UNPADDED_LAYERS,
    find_bandwidth,
    find_margin,
    find_upsampling,
    sampling_rates,
)
from .tensors import TensorBag

OUTPUT_SCALE = 0.25
CLAMP = 256.0
CHANNEL_CHUNKS = 8  # of a layer's channels, processed one after the other with gradient checkpointing
RunBlock = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class LayerSpec:
    """Sizes and sampling rates of a layer, from its name and position.

    in_rate, out_rate: samples per image side. in_size, out_size: (height, width) in pixels, with margins.
    """

    name: str
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    in_rate: int
    out_rate: int
    is_rgb: bool

    def inner_rate(self, upsampling: int) -> int:
        """The sampling rate of the nonlinearity: a multiple of the larger one, except in the last layer."""
        return max(self.in_rate, self.out_rate) * (1 if self.is_rgb else upsampling)


def read_layer_specs(bag: TensorBag, names: Sequence[str]) -> list[LayerSpec]:
    """The layers of a checkpoint, in order. Setting: margin, in pixels.

    Raises:
        CheckpointError: their sizes are not those of a StyleGAN3.
    """
    parts = sorted((int(m[1]), int(m[2]), m[0].removesuffix(".weight")) for n in names if (m := LAYER.fullmatch(n)))
    widths = [bag.check_side(width) for _, width, _ in parts]
    if [index for index, _, _ in parts] != list(range(len(parts))) or len(parts) < UNPADDED_LAYERS + 2:
        raise _layer_error(f"has the layers {[index for index, _, _ in parts][:20]}")
    shape = find_margin(bag, widths, parts[0][2]) if widths[-1] == widths[-2] else None
    if shape is None:
        raise _layer_error(f"has layers of the widths {widths[:20]}, which no margin explains")
    margin, is_tall = shape
    heights = [bag.check_side(2 * width) for width in widths] if is_tall else widths
    rates = sampling_rates(widths, margin, is_tall)
    specs = []
    for index, (_, _, name) in enumerate(parts):
        last = max(index - 1, 0)
        before, size = (heights[last], widths[last]), (heights[index], widths[index])
        specs.append(LayerSpec(name, before, size, rates[last], rates[index], index == len(parts) - 1))
    return specs


def _layer_error(found: str) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {found}.",
        "the layers of a StyleGAN3: L0 to the last, each with a power of two plus its margins as its width.",
        "download the file again; a variant with other layers is not supported.",
    )


class FourierFeatures(nn.Module):
    """w -> [B, C, H, W]: Fourier features, rotated and translated, then mixed by a matrix (appendix F.1).

    Attributes:
        transform: [3, 3], a buffer that users may set: the inverse of the image's transform, in coordinates -0.5..0.5.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, bag: TensorBag, w_dim: int, size: tuple[int, int], rate: int, bandwidth: float):
        super().__init__()
        weight = bag.take("synthesis.input.weight", -1, -1)
        channels = weight.shape[1]
        self.weight = nn.Parameter(weight * channels**-0.5)
        for name, shape in (("transform", (3, 3)), ("freqs", (channels, 2)), ("phases", (channels,))):
            self.register_buffer(name, bag.take(f"synthesis.input.{name}", *shape))
        self.affine = Affine(bag, "synthesis.input", 4, w_dim)
        self.size, self.rate, self.bandwidth = size, rate, bandwidth
        self.out_channels = weight.shape[0]

    def forward(self, w: Tensor) -> Tensor:
        affine = self.affine(w)
        affine = affine / affine[:, :2].norm(dim=1, keepdim=True)
        cos, sin, dx, dy = affine.unbind(1)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rotation = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(-1, 3, 3)
        translation = torch.stack([one, zero, -dx, zero, one, -dy, zero, zero, one], 1).view(-1, 3, 3)
        transform = rotation @ translation @ self.transform
        phases = self.phases + (self.freqs @ transform[:, :2, 2:]).squeeze(2)
        freqs = self.freqs @ transform[:, :2, :2]
        # attenuates frequencies that the transform moves beyond the band limit
        fade = 1 - (freqs.norm(dim=2) - self.bandwidth) / (self.rate / 2 - self.bandwidth)
        grid = self._grid(w)
        waves = torch.einsum("hwd,bcd->bhwc", grid, freqs) + phases[:, None, None]
        waves = torch.sin(waves * (2 * math.pi)) * fade.clamp(0, 1)[:, None, None]
        return F.linear(waves, self.weight).permute(0, 3, 1, 2)

    def _grid(self, like: Tensor) -> Tensor:
        """[H, W, 2]: x and y of the pixel centres, where the image without its margins has a side of 1."""
        height, width = self.size

        def axis(count: int) -> Tensor:
            return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5 - count / 2) / self.rate

        y, x = torch.meshgrid(axis(height), axis(width), indexing="ij")
        return torch.stack([x, y], dim=2)


class SynthesisLayer(nn.Module):
    """Modulated convolution, bias, and a LeakyReLU between an upsampling and a downsampling (fig. 4b)."""

    wsq: Tensor
    input_gain: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(
        self, bag: TensorBag, spec: LayerSpec, in_channels: int, w_dim: int, clamp: float | None, upsampling: int
    ):
        super().__init__()
        prefix = spec.name
        side = bag.shape(f"{prefix}.weight", 4)[-1]
        weight = bag.take(f"{prefix}.weight", -1, in_channels, side, side)
        self.out_channels, self.side, self.limit, self.is_rgb = weight.shape[0], side, clamp, spec.is_rgb
        magnitude = bag.take(f"{prefix}.magnitude_ema")  # of the input, tracked in training
        self.affine = Affine(bag, prefix, in_channels, w_dim)
        if spec.is_rgb:
            weight = weight * fan_in_gain(weight)
        else:
            weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
            self.register_buffer("wsq", squared_norms(weight))
        self.weight = nn.Parameter(channels_last(weight))
        self.register_buffer("input_gain", magnitude.clamp(min=1e-12).rsqrt())
        self.bias = nn.Parameter(bag.take(f"{prefix}.bias", self.out_channels))
        inner_rate = spec.inner_rate(upsampling)
        self.up, self.down = inner_rate // spec.in_rate, inner_rate // spec.out_rate
        if not spec.is_rgb:
            self.register_buffer("up_filter", _take_filter(bag, f"{prefix}.up_filter"))
            self.register_buffer("down_filter", _take_filter(bag, f"{prefix}.down_filter"))
            self.padding = self._padding(spec, self.up_filter.shape[0], self.down_filter.shape[0])

    def _padding(self, spec: LayerSpec, up_taps: int, down_taps: int) -> tuple[int, int, int, int]:
        """left, right, top, bottom padding of the upsampled features, so that the output has the size of the spec."""
        sides = []
        for out, before in ((spec.out_size[1], spec.in_size[1]), (spec.out_size[0], spec.in_size[0])):
            total = (out - 1) * self.down + 1 - (before + self.side - 1) * self.up + up_taps + down_taps - 2
            first = (total + self.up) // 2
            sides += [first, total - first]
        return sides[0], sides[1], sides[2], sides[3]

    def forward(self, x: Tensor, w: Tensor, run_block: RunBlock | None = None) -> Tensor:
        """run_block: runs a function with gradient checkpointing; if given, the channels are processed in chunks."""
        style = self.affine(w)
        if self.is_rgb:
            x = (
                F.conv2d(x * style[:, :, None, None], safe_layout(self.weight)) * self.input_gain
                + self.bias[:, None, None]
            )
            return _clamp(x, self.limit)
        style = style * style.square().mean(dim=1, keepdim=True).rsqrt()
        x = F.conv2d(x * style[:, :, None, None], safe_layout(self.weight), padding=self.side - 1)
        # the activation's gain is applied here, where the features have a quarter of the pixels
        gain = self.input_gain * ACT_GAIN
        demodulation = (F.linear(style.square(), self.wsq) + DEMOD_EPS).rsqrt() * gain
        x = torch.addcmul(self.bias[:, None, None] * ACT_GAIN, x, demodulation[:, :, None, None])
        channels = len(self.bias) if run_block is None else max(1, len(self.bias) // CHANNEL_CHUNKS)
        outputs = [(run_block or _apply)(self._filtered, each) for each in x.split(channels, dim=1)]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)

    def _filtered(self, x: Tensor) -> Tensor:
        """Upsampling, LeakyReLU, downsampling; the features between the two filters are the largest of the network."""
        x = _clamp(F.leaky_relu_(upfir(x, self.up_filter, self.up, self.padding), SLOPE), self.limit)
        return firdown(x, self.down_filter, self.down)


def _clamp(x: Tensor, limit: float | None) -> Tensor:
    """Clamps x to -limit..limit; None does nothing."""
    return x.clamp(-limit, limit) if limit is not None else x


def _apply(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return function(x)


def _take_filter(bag: TensorBag, name: str) -> Tensor:
    """A separable filter [taps], or a radial one [taps, taps]."""
    radial = len(bag.dims(name)) == 2
    taps = bag.shape(name, 2 if radial else 1)[0]
    return bag.take_filter(name, *([taps, taps] if radial else [taps]))


class StyleGAN3Synthesis(SynthesisNetwork):
    """ws -> image. ws[0] transforms the Fourier features, ws[i + 1] is the style of layer i. There is no noise."""

    def __init__(self, bag: TensorBag, w_dim: int, names: Sequence[str]):
        specs = read_layer_specs(bag, names)
        colours = bag.check_colours(f"{specs[-1].name}.weight")
        style_sides = [specs[0].in_rate, *(spec.out_rate for spec in specs)]
        super().__init__(w_dim, len(specs) + 1, specs[-1].out_size, colours, style_sides=style_sides)
        clamp = bag.clamp(CLAMP)
        bandwidth = bag.number("bandwidth", find_bandwidth(bag), 0.0, MAX_BANDWIDTH, is_assumed=False)
        found = find_upsampling(bag)
        upsampling = int(
            bag.number("lrelu_upsampling", found or LRELU_UPSAMPLING, 2, MAX_UPSAMPLING, is_assumed=found is None)
        )
        if upsampling & (upsampling - 1):
            raise _layer_error(f"has the setting lrelu_upsampling {upsampling}")
        self.output_scale = bag.number("output_scale", OUTPUT_SCALE, 1e-6, 1e6)
        self.input = FourierFeatures(bag, w_dim, specs[0].in_size, specs[0].in_rate, bandwidth)
        self.layers = nn.ModuleList()
        channels = self.input.out_channels
        for spec in specs:
            layer = SynthesisLayer(bag, spec, channels, w_dim, clamp, upsampling)
            self.layers.append(layer)
            channels = layer.out_channels

    def render(self, ws: Tensor, noise: Sequence[Tensor | None]) -> Tensor:
        styles = ws.unbind(1)
        x = self.input(styles[0])
        for layer, w in zip(self.layers, styles[1:], strict=True):
            x = self.run_block(layer, x, w, self.run_block if self.recomputes else None)
        return (x * self.output_scale).contiguous()


class StyleGAN3(Generator):
    """See the module's docstring."""

    family = "stylegan3"

    @staticmethod
    def recognises(tensors: Stored) -> bool:
        """By the Fourier features."""
        return "synthesis.input.freqs" in tensors

    @staticmethod
    def build(bag: TensorBag) -> tuple[MappingNetwork, SynthesisNetwork]:
        """Settings: conv_clamp, mapping_lr, margin (pixels), bandwidth (cycles per image), output_scale,
        lrelu_upsampling (a power of two).
        """
        w_dim = bag.shape("synthesis.input.affine.weight", 2)[1]
        synthesis = StyleGAN3Synthesis(bag, w_dim, bag.names())
        return nvlabs_mapping(bag, synthesis.num_ws, w_dim), synthesis

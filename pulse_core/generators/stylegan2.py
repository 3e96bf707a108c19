"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958) and StyleGAN2-ADA (arXiv 2006.06676).

A layer modulates its input channels by a style, convolves, demodulates, adds noise and bias, and applies a LeakyReLU.
Of the three architectures, "skip" sums the images of all resolutions, "resnet" has a shortcut around each block, and
"orig" has neither. Resolution, shape of the image, widths and depth follow from the tensors. The names are those of
NVlabs' PyTorch code, with one resampling filter for all layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.stored import Stored
from .base import Generator, SynthesisNetwork, channels_last, safe_layout
from .frozen import Convolution, FrozenLayer
from .layers import ACT_GAIN, DEMOD_EPS, Affine, fan_in_gain, nvlabs_mapping, squared_norms
from .mapping import SLOPE, MappingNetwork
from .resampling import default_filter, upfir
from .tensors import TensorBag

_FILTER = "synthesis.resample_filter"
_IMAGE_FILTER = "synthesis.image_filter"  # of the images that "skip" sums up, if it differs


class StyledConv(nn.Module):
    """Modulated 3x3 convolution (section 2.2, eqs. 1 and 3), optional upsampling, noise, bias, LeakyReLU.

    The activation's gain is positive, so it is folded into the demodulation, the noise strength and the bias.

    Args:
        kernel: the resampling filter of an upsampling layer; None does not upsample.
        gain: of the output; 1/sqrt(2) if a shortcut is added.
        clamp: of the output, before that gain; None means no clamp.
    """

    wsq: Tensor
    blur: Tensor | None

    def __init__(
        self,
        bag: TensorBag,
        prefix: str,
        channels: tuple[int, int],
        w_dim: int,
        *,
        kernel: Tensor | None = None,
        gain: float = 1.0,
        clamp: float | None = None,
    ):
        super().__init__()
        in_channels, out_channels = channels
        weight = bag.take(f"{prefix}.weight", out_channels, in_channels, 3, 3)
        self.is_added = gain != 1
        self.gain, self.limit = ACT_GAIN * gain, clamp * gain if clamp is not None else None
        self.affine = Affine(bag, prefix, in_channels, w_dim)
        self.register_buffer("wsq", squared_norms(weight))
        blur = None if kernel is None else _smoothing_filter(kernel).repeat(out_channels, 1, 1, 1)
        self.register_buffer("blur", None if blur is None else channels_last(blur))
        self.weight = nn.Parameter(channels_last(weight.transpose(0, 1) if kernel is not None else weight))
        self.bias = nn.Parameter(bag.take(f"{prefix}.bias", out_channels) * self.gain)
        strength = bag.take_optional(f"{prefix}.noise_strength")
        self.noise_strength = nn.Parameter(strength * self.gain) if strength is not None else None

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The convolution; for upsampling, a transposed one of stride 2 and its low-pass filter."""
        if self.blur is None:
            return (Convolution(self.weight, padding=(1, 1)),)
        padding = (self.blur.shape[-2] // 2 - 1, self.blur.shape[-1] // 2 - 1)
        return Convolution(self.weight, up=True), Convolution(self.blur, padding, depthwise=True)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, pooled: bool) -> Tensor:
        style = self.affine(w)
        demod = (F.linear(style.square(), self.wsq) + DEMOD_EPS).rsqrt() * self.gain
        layer = FrozenLayer(
            self.convolutions, self.bias, self.noise_strength, SLOPE, self.limit, overwrites=not self.is_added
        )
        return (layer.pooled() if pooled else layer)(x, noise, style[:, :, None, None], demod[:, :, None, None])


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation."""

    def __init__(self, bag: TensorBag, prefix: str, in_channels: int, colours: int, w_dim: int, clamp: float | None):
        super().__init__()
        weight = bag.take(f"{prefix}.weight", colours, in_channels, 1, 1)
        self.weight = nn.Parameter(channels_last(weight * fan_in_gain(weight)))
        self.bias = nn.Parameter(bag.take(f"{prefix}.bias", colours))
        self.affine = Affine(bag, prefix, in_channels, w_dim)
        self.limit = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return FrozenLayer((Convolution(self.weight),), self.bias, limit=self.limit)(
            x, style=self.affine(w)[:, :, None, None]
        )


class Block(nn.Module):
    """One resolution: an upsampling layer (except in the first block), a second layer, and a shortcut or torgb.

    Args:
        kernels: the resampling filters of the layers, and of the image.
    """

    kernel: Tensor
    image_kernel: Tensor

    def __init__(
        self,
        bag: TensorBag,
        side: int,
        in_channels: int,
        w_dim: int,
        kernels: tuple[Tensor, Tensor],
        colours: int,
        clamp: float | None,
    ):
        super().__init__()
        prefix = f"synthesis.b{side}"
        self.out_channels = bag.shape(f"{prefix}.conv1.weight", 4)[0]
        kernel, image_kernel = kernels
        self.register_buffer("kernel", kernel)
        self.register_buffer("image_kernel", image_kernel)
        shortcut = bag.take_optional(f"{prefix}.skip.weight", self.out_channels, in_channels, 1, 1)
        half = 0.5**0.5 if shortcut is not None else 1.0
        self.skip = None
        if shortcut is not None:
            self.skip = nn.Parameter(channels_last(shortcut * (fan_in_gain(shortcut) * half)))
        inner = self.out_channels if side > 4 else in_channels
        self.conv0 = None
        if side > 4:
            self.conv0 = StyledConv(bag, f"{prefix}.conv0", (in_channels, inner), w_dim, kernel=kernel, clamp=clamp)
        self.conv1 = StyledConv(bag, f"{prefix}.conv1", (inner, self.out_channels), w_dim, gain=half, clamp=clamp)
        has_rgb = f"{prefix}.torgb.weight" in bag
        self.torgb = ToRGB(bag, f"{prefix}.torgb", self.out_channels, colours, w_dim, clamp) if has_rgb else None

    def forward(
        self,
        x: Tensor,
        image: Tensor | None,
        ws: Sequence[Tensor],
        noise: Sequence[Tensor | None],
        pooled: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """ws: for conv0 (not in the first block), conv1 and torgb. noise: for conv0 and conv1.

        pooled: on average-pooled features, without upsampling; see SynthesisNetwork.render_low_resolution.
        """
        shortcut = None
        if self.skip is not None:
            shortcut = F.conv2d(x, safe_layout(self.skip))
            shortcut = shortcut if pooled else _upsample2d(shortcut, self.kernel)
        if self.conv0 is not None:
            x = self.conv0(x, ws[0], noise[0], pooled)
        x = self.conv1(x, ws[-2], noise[-1], pooled)
        if shortcut is not None:
            x = shortcut.add_(x)
        if image is not None and not pooled:
            image = _upsample2d(image, self.image_kernel)
        if self.torgb is not None:
            colours = self.torgb(x, ws[-1])
            image = colours if image is None else image.add_(colours)
        return x, image


class StyleGAN2Synthesis(SynthesisNetwork):
    """ws -> image. ws[0]: style of the first layer; ws[2i-1], ws[2i]: of block i's layers; ws[2i+1]: of its torgb."""

    has_low_resolution = True

    def __init__(self, bag: TensorBag, w_dim: int):
        sides = [4]  # in the names of tensors; non-square images differ in the constant alone
        while f"synthesis.b{2 * sides[-1]}.conv1.weight" in bag:
            sides.append(bag.check_side(2 * sides[-1]))
        const = bag.take("synthesis.b4.const", -1, -1, -1)
        sizes = [(bag.check_side(const.shape[1] * s // 4), bag.check_side(const.shape[2] * s // 4)) for s in sides]
        names = ["b4.conv1", *(f"b{side}.{conv}" for side in sides[1:] for conv in ("conv0", "conv1"))]
        shapes = [sizes[0], *(size for size in sizes[1:] for _ in range(2))]
        noisy = [i for i, name in enumerate(names) if f"synthesis.{name}.noise_strength" in bag]
        consts = [bag.take_optional(f"synthesis.{names[i]}.noise_const", *shapes[i]) for i in noisy]
        colours = bag.check_colours(f"synthesis.b{sides[-1]}.torgb.weight")
        _check_architecture(bag, sides)
        style_sides = [max(shape) for shape in (*shapes, sizes[-1])]
        super().__init__(w_dim, 2 * len(sides), sizes[-1], colours, [shapes[i] for i in noisy], consts, style_sides)
        self._noisy_layers = noisy
        kernel = bag.take_filter(_FILTER, -1, -1) if _FILTER in bag else default_filter()
        image_kernel = bag.take_filter(_IMAGE_FILTER, -1, -1) if _IMAGE_FILTER in bag else kernel
        clamp = bag.clamp(None)
        self.const = nn.Parameter(channels_last(const[None]))
        self.blocks = nn.ModuleList()
        channels = const.shape[0]
        for side in sides:
            block = Block(bag, side, channels, w_dim, (kernel, image_kernel), colours, clamp)
            self.blocks.append(block)
            channels = block.out_channels

    def render_low_resolution(self, ws: Tensor, noise: Sequence[Tensor | None], side: int) -> Tensor:
        """See SynthesisNetwork."""
        styles = ws.unbind(1)
        layers: list[Tensor | None] = [None] * (2 * len(self.blocks) - 1)
        for layer, given in zip(self._noisy_layers, noise, strict=True):
            layers[layer] = given
        x, image = self.const.expand(ws.shape[0], -1, -1, -1), None
        for index, block in enumerate(self.blocks):
            first = max(2 * index - 1, 0)
            own = styles[first : 2 * index + 2], layers[first : 2 * index + 1]
            x, image = self.run_block(block, x, image, *own, self.style_sides[first] > side)
        assert image is not None  # the last block has a torgb: __init__ reads its shape
        return image.contiguous()


def _check_architecture(bag: TensorBag, sides: Sequence[int]) -> None:
    """Checks that torgb is in all blocks or only in the last, and that all blocks have a shortcut, or none.

    Raises:
        CheckpointError: one is missing.
    """
    for part, block_sides in (("torgb", sides[:-1]), ("skip", sides[1:])):
        names = [f"synthesis.b{side}.{part}.weight" for side in block_sides]
        for name in names if any(name in bag for name in names) else []:
            bag.shape(name, 4)


def _upsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Upsampling by 2: zero insertion, then a low-pass filter (Zhang 2019, arXiv 1904.11486)."""
    (height, width), up = kernel.shape, 2
    sides = ((width + up - 1) // 2, (width - up) // 2, (height + up - 1) // 2, (height - up) // 2)
    return upfir(x, kernel, up, sides)


def _smoothing_filter(kernel: Tensor) -> Tensor:
    """[1, 1, h, w]: the low-pass filter after a transposed 3x3 convolution of stride 2; even sides, gain 4.

    With a padding of side / 2 - 1, the result has twice the size of the convolution's input.
    """
    height, width = kernel.shape
    return F.pad(4 * kernel.flip(0, 1), (0, width % 2, 0, height % 2))[None, None]


class StyleGAN2(Generator):
    """See the module's docstring."""

    family = "stylegan2"

    @staticmethod
    def recognises(tensors: Stored) -> bool:
        """By the constant."""
        return "synthesis.b4.const" in tensors

    @staticmethod
    def build(bag: TensorBag) -> tuple[MappingNetwork, SynthesisNetwork]:
        """Settings: conv_clamp (a number or null), mapping_lr (the mapping network's learning-rate multiplier)."""
        w_dim = bag.shape("synthesis.b4.conv1.affine.weight", 2)[1]
        synthesis = StyleGAN2Synthesis(bag, w_dim)
        return nvlabs_mapping(bag, synthesis.num_ws, w_dim), synthesis

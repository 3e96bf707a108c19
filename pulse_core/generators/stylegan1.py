"""StyleGAN (Karras, Laine, Aila 2019, arXiv 1812.04948) as PULSE used it: synthesis.pt and mapping.pt.

A block is (upsampling, convolution, blur), noise, LeakyReLU, AdaIN; convolution, noise, LeakyReLU, AdaIN. Stored
weights are those of the equalised learning rate; their run-time factors are folded in when the network is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.stored import Stored
from .base import Generator, SynthesisNetwork, channels_last, safe_layout
from .frozen import Convolution, FrozenLayer
from .mapping import (
    SLOPE,
    DenseMapping,
    MappingNetwork,
    MissingMapping,
    check_learning_rate,
    take_concat_label,
    take_layers,
)
from .tensors import TensorBag

GAIN = 2**0.5  # of He initialisation: the run-time factor of every layer except styles and torgb
MAPPING_LR = 0.01  # the mapping network's learning-rate multiplier, which also scales its weights and biases
NORM_EPS = 1e-5  # of the PyTorch ports; the setting norm_eps carries the TensorFlow graph's 1e-8
FIRST_SIDE = 4
_LARGE = 128**2  # pixels
FUSED_FROM = 128  # shorter side from which on upsampling and convolution were trained as one transposed convolution
MAX_FUSED = 1 << 16  # a setting fused_from that no image reaches


def equalised(weight: Tensor, gain: float) -> Tensor:
    """weight * gain / sqrt(fan_in), section 4.1 of Progressive GAN (Karras et al. 2018, arXiv 1710.10196)."""
    return weight * (gain * weight[0].numel() ** -0.5)


def adain(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Adaptive instance normalisation (AdaIN, eq. 1 of the paper): x [B, C, H, W], scale and shift [B, C].

    For one image it is a batch norm, whose fused kernels take a tenth of the time of separate operations, and whose
    moments are float32 for 16-bit features. On a CPU the images of a batch are processed one by one, which fits the
    cache and is 3 to 5 times as fast. For large contiguous features CUDA's batch norm is slow, so the formula is used.
    """
    x = safe_layout(x)  # MPS gives wrong gradients for channels_last features
    is_large = x.device.type == "cuda" and x.shape[2] * x.shape[3] >= _LARGE
    one_by_one = x.dtype.itemsize == 2 or x.device.type == "cpu"
    if len(x) == 1 and not is_large:
        return F.batch_norm(x, None, None, scale.flatten(), shift.flatten(), training=True, eps=eps)
    if one_by_one:
        images = zip(x.split(1), scale.split(1), shift.split(1), strict=True)
        return torch.cat([adain(image, factor, offset, eps) for image, factor, offset in images])
    y: Tensor = _BatchedAdaIN.apply(x, scale[..., None, None], shift[..., None, None], eps)
    return y


class _BatchedAdaIN(torch.autograd.Function):
    """AdaIN of a batch, with hand-written gradients: one kernel per operation, whatever the batch size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        inverse_std = variance.add_(eps).rsqrt_()
        factor = inverse_std * scale
        ctx.save_for_backward(x, mean, inverse_std, factor)
        return torch.addcmul(shift - mean * factor, x, factor)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, inverse_std, factor = ctx.saved_tensors
        grad = channels_last(grad)
        grad_shift = grad.sum((2, 3), keepdim=True)
        grad_scale = (
            (grad * x).sum((2, 3), keepdim=True) - mean * grad_shift
        ) * inverse_std  # sum of grad * normalised x
        pixels = x.shape[2] * x.shape[3]
        slope = factor * inverse_std * grad_scale / -pixels
        grad_x = torch.addcmul(factor * grad_shift / -pixels - slope * mean, grad, factor).addcmul_(x, slope)
        return grad_x, grad_scale, grad_shift, None


class Epilogue(nn.Module):
    """A chain of convolutions, then noise, LeakyReLU and AdaIN."""

    def __init__(self, bag: TensorBag, prefix: str, channels: int, w_dim: int, norm_eps: float):
        super().__init__()
        self.norm_eps = norm_eps
        self.noise_weight = nn.Parameter(bag.take(f"{prefix}.noise.weight", channels).reshape(1, -1, 1, 1))
        self.style_weight = nn.Parameter(equalised(bag.take(f"{prefix}.style_mod.lin.weight", 2 * channels, w_dim), 1))
        self.style_bias = nn.Parameter(bag.take(f"{prefix}.style_mod.lin.bias", 2 * channels))

    def forward(self, x: Tensor, convolution: FrozenLayer, w: Tensor, noise: Tensor | None, pooled: bool) -> Tensor:
        layer = replace(convolution, strength=self.noise_weight, slope=SLOPE, overwrites=True)
        x = (layer.pooled() if pooled else layer)(x, noise)
        scale, shift = F.linear(w, self.style_weight, self.style_bias).chunk(2, dim=1)
        return adain(x, scale + 1, shift, self.norm_eps)


class UpConv(nn.Module):
    """Upsampling by 2, a 3x3 convolution, a blur, and the bias after the blur.

    Nearest-neighbour upsampling and a convolution equal a transposed convolution of stride 2 with a 4x4 kernel of
    flipped weights. From FUSED_FROM on the networks were trained in that form, with weights that are not flipped.

    A bias before the blur, which changes it at the border, is the weight of an additional input channel of ones.
    """

    blur: Tensor

    def __init__(self, bag: TensorBag, prefix: str, in_channels: int, is_fused: bool, bias_before_blur: bool):
        super().__init__()
        weight = equalised(bag.take(f"{prefix}.weight", -1, in_channels, 3, 3), GAIN)
        self.out_channels = weight.shape[0]
        weight = weight if is_fused else weight.flip(2, 3)
        bias = bag.take(f"{prefix}.bias", self.out_channels)
        self.bias_before_blur = bias_before_blur
        if bias_before_blur:
            weight = torch.cat([weight, F.pad(bias[:, None, None, None], (1, 1, 1, 1))], dim=1)
            bias = torch.zeros_like(bias)
        padded = F.pad(weight.transpose(0, 1), (1, 1, 1, 1))
        weight = padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]
        self.weight = nn.Parameter(channels_last(weight))
        self.bias = nn.Parameter(bias)
        blur = bag.take(f"{prefix}.intermediate.kernel", 1, 1, 3, 3)
        self.register_buffer("blur", channels_last(blur.repeat(self.out_channels, 1, 1, 1)))

    @property
    def layer(self) -> FrozenLayer:
        """The convolutions and the bias."""
        up = Convolution(self.weight, padding=(1, 1), up=True)
        return FrozenLayer((up, Convolution(self.blur, padding=(1, 1), depthwise=True)), self.bias)


class Conv(nn.Module):
    """A 3x3 convolution."""

    def __init__(self, bag: TensorBag, prefix: str, in_channels: int):
        super().__init__()
        self.weight = nn.Parameter(channels_last(equalised(bag.take(f"{prefix}.weight", -1, in_channels, 3, 3), GAIN)))
        self.out_channels = self.weight.shape[0]
        self.bias = nn.Parameter(bag.take(f"{prefix}.bias", self.out_channels))

    @property
    def layer(self) -> FrozenLayer:
        """The convolutions and the bias."""
        return FrozenLayer((Convolution(self.weight, padding=(1, 1)),), self.bias)


class Block(nn.Module):
    """One resolution: two convolutions, each with its epilogue. The first block has one, after the constant."""

    def __init__(
        self,
        bag: TensorBag,
        side: int,
        in_channels: int,
        w_dim: int,
        norm_eps: float,
        fused_from: float,
        bias_before_blur: bool,
    ):
        super().__init__()
        prefix = f"synthesis.blocks.{side}x{side}"
        is_first = side == FIRST_SIDE
        self.up = (
            None if is_first else UpConv(bag, f"{prefix}.conv0_up", in_channels, side >= fused_from, bias_before_blur)
        )
        channels = self.up.out_channels if self.up is not None else in_channels
        self.conv = Conv(bag, f"{prefix}.conv1" if self.up is not None else f"{prefix}.conv", channels)
        self.out_channels = self.conv.out_channels
        self.epi1 = Epilogue(bag, f"{prefix}.epi1", channels, w_dim, norm_eps)
        self.epi2 = Epilogue(bag, f"{prefix}.epi2", self.out_channels, w_dim, norm_eps)

    def forward(self, x: Tensor, ws: Sequence[Tensor], noise: Sequence[Tensor | None], pooled: bool = False) -> Tensor:
        """pooled: on average-pooled features, without upsampling; see SynthesisNetwork.render_low_resolution."""
        if self.up is not None and self.up.bias_before_blur:
            x = F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0)
        x = self.epi1(x, self.up.layer if self.up is not None else FrozenLayer(()), ws[0], noise[0], pooled)
        return self.epi2(x, self.conv.layer, ws[1], noise[1], pooled)


class StyleGAN1Synthesis(SynthesisNetwork):
    """ws -> image. ws[2i] and ws[2i+1] are the styles of block i, which has two noise maps."""

    has_low_resolution = True

    def __init__(self, bag: TensorBag, w_dim: int):
        sides = [FIRST_SIDE]  # in the names of tensors; non-square images differ in the constant alone
        while f"synthesis.blocks.{2 * sides[-1]}x{2 * sides[-1]}.conv1.weight" in bag:
            sides.append(bag.check_side(2 * sides[-1]))
        const = bag.take("synthesis.blocks.4x4.const", 1, -1, -1, -1)
        width = const.shape[1]
        sizes = [(const.shape[2] * side // FIRST_SIDE, const.shape[3] * side // FIRST_SIDE) for side in sides]
        size = (bag.check_side(sizes[-1][0]), bag.check_side(sizes[-1][1]))
        shapes = [each for each in sizes for _ in range(2)]
        consts = [bag.take_optional(f"synthesis.noise_const_{i}", *shape) for i, shape in enumerate(shapes)]
        channels = bag.check_colours("synthesis.torgb.weight")
        super().__init__(w_dim, 2 * len(sides), size, channels, shapes, consts, [max(shape) for shape in shapes])
        self.const = nn.Parameter(const + bag.take("synthesis.blocks.4x4.bias", width).reshape(1, -1, 1, 1))
        self.blocks = nn.ModuleList()
        norm_eps = bag.number("norm_eps", NORM_EPS, 0.0, 1.0, is_assumed=False)
        fused_from = bag.number("fused_from", FUSED_FROM, 0, MAX_FUSED)
        bias_before_blur = bag.number("bias_before_blur", 0, 0, 1, is_assumed=False) > 0
        for side in sides:
            block = Block(bag, side, width, w_dim, norm_eps, fused_from, bias_before_blur)
            self.blocks.append(block)
            width = block.out_channels
        weight = equalised(bag.take("synthesis.torgb.weight", channels, width, 1, 1), 1)
        self.torgb_weight = nn.Parameter(channels_last(weight))
        self.torgb_bias = nn.Parameter(bag.take("synthesis.torgb.bias", channels))

    def render_low_resolution(self, ws: Tensor, noise: Sequence[Tensor | None], side: int) -> Tensor:
        """See SynthesisNetwork."""
        styles = ws.unbind(1)
        x = channels_last(self.const.repeat(ws.shape[0], 1, 1, 1))
        for index, block in enumerate(self.blocks):
            pair = slice(2 * index, 2 * index + 2)
            x = self.run_block(block, x, styles[pair], noise[pair], self.style_sides[2 * index] > side)
        return FrozenLayer((Convolution(self.torgb_weight),), self.torgb_bias)(x).contiguous()


class StyleGAN1(Generator):
    """See the module's docstring."""

    family = "stylegan1"

    @staticmethod
    def recognises(tensors: Stored) -> bool:
        """By the constant of the synthesis or the first layer of the mapping."""
        return "synthesis.blocks.4x4.const" in tensors or "mapping.dense0.weight" in tensors

    @staticmethod
    def build(bag: TensorBag) -> tuple[MappingNetwork, SynthesisNetwork]:
        """Settings: norm_eps, the epsilon of the instance norm; fused_from, the side from which on upsampling and
        convolution are fused; bias_before_blur, 0 or 1; mapping_lr, the learning-rate multiplier of the mapping.

        Without mapping tensors, the generator gets a `MissingMapping`.
        """
        w_dim = bag.shape("synthesis.blocks.4x4.epi1.style_mod.lin.weight", 2)[1]
        synthesis = StyleGAN1Synthesis(bag, w_dim)
        if "mapping.dense0.weight" not in bag:
            return MissingMapping(w_dim, 0, w_dim, synthesis.num_ws), synthesis
        lr = bag.number("mapping_lr", MAPPING_LR, 1e-6, 1e3)
        label = take_concat_label(bag)
        layers = take_layers(bag, "mapping.dense", w_dim)
        if "mapping_lr" in bag.assumed:
            check_learning_rate(layers, lr)
        layers = [(equalised(weight, GAIN * lr), bias * lr) for weight, bias in layers]
        w_avg = bag.take_optional("mapping.w_avg", w_dim)
        return DenseMapping(layers, synthesis.num_ws, w_avg=w_avg, label=label), synthesis

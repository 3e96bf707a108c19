"""The baseline: the search as the paper describes it, in plain eager torch, without optimizations.

Each layer follows its paper: run-time factors on the stored weights, separate operations, torch's default memory
format, and downscaling as one strided convolution over the full image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pulse_core.latents.gaussian import LatentGaussian

Synthesis = Callable[[Tensor, Sequence[Tensor]], Tensor]
_SLOPE = 0.2
EPS = 2e-3  # of the published code


def _scaled(weight: Tensor, gain: float = 1.0) -> Tensor:
    """The equalised learning rate's run-time factor (Karras et al. 2018, section 4.1)."""
    return weight * (gain / math.sqrt(weight[0].numel()))


def stylegan1(tensors: dict[str, Tensor]) -> Synthesis:
    """StyleGAN (Karras et al. 2019), layer by layer."""
    part = {name.removeprefix("synthesis."): tensor for name, tensor in tensors.items()}
    sides = [side for side in (2**power for power in range(2, 11)) if f"blocks.{side}x{side}.epi1.noise.weight" in part]

    def epilogue(x: Tensor, prefix: str, w: Tensor, noise: Tensor) -> Tensor:
        x = x + part[f"{prefix}.noise.weight"].view(1, -1, 1, 1) * noise
        x = F.instance_norm(F.leaky_relu(x, _SLOPE))
        style = F.linear(w, _scaled(part[f"{prefix}.style_mod.lin.weight"]), part[f"{prefix}.style_mod.lin.bias"])
        scale, shift = style.view(len(w), 2, -1, 1, 1).unbind(1)
        return x * (scale + 1) + shift

    def conv(x: Tensor, prefix: str, bias: bool = True) -> Tensor:
        weight = _scaled(part[f"{prefix}.weight"], math.sqrt(2))
        return F.conv2d(x, weight, part[f"{prefix}.bias"] if bias else None, padding=1)

    def up(x: Tensor, prefix: str) -> Tensor:
        if x.shape[-1] < 64:
            x = conv(F.interpolate(x, scale_factor=2), prefix, bias=False)
        else:  # as in training: a transposed convolution
            weight = F.pad(_scaled(part[f"{prefix}.weight"], math.sqrt(2)).transpose(0, 1), (1, 1, 1, 1))
            weight = weight[..., 1:, 1:] + weight[..., :-1, 1:] + weight[..., 1:, :-1] + weight[..., :-1, :-1]
            x = F.conv_transpose2d(x, weight, stride=2, padding=1)
        blur = part[f"{prefix}.intermediate.kernel"].expand(x.shape[1], 1, 3, 3)
        return F.conv2d(x, blur, padding=1, groups=x.shape[1]) + part[f"{prefix}.bias"].view(1, -1, 1, 1)

    def synthesis(ws: Tensor, noise: Sequence[Tensor]) -> Tensor:
        x = part["blocks.4x4.const"].expand(len(ws), -1, -1, -1) + part["blocks.4x4.bias"].view(1, -1, 1, 1)
        for index, side in enumerate(sides):
            block = f"blocks.{side}x{side}"
            x = up(x, f"{block}.conv0_up") if side > 4 else x
            x = epilogue(x, f"{block}.epi1", ws[:, 2 * index], noise[2 * index])
            x = conv(x, f"{block}.conv1" if side > 4 else f"{block}.conv")
            x = epilogue(x, f"{block}.epi2", ws[:, 2 * index + 1], noise[2 * index + 1])
        return F.conv2d(x, _scaled(part["torgb.weight"]), part["torgb.bias"])

    return synthesis


def stylegan2(tensors: dict[str, Tensor]) -> Synthesis:
    """StyleGAN2 (Karras et al. 2020), skip: one kernel per image, in a grouped convolution."""
    part = {name.removeprefix("synthesis."): tensor for name, tensor in tensors.items()}
    sides = [side for side in (2**power for power in range(2, 11)) if f"b{side}.conv1.weight" in part]

    def filtered(x: Tensor, kernel: Tensor, padding: tuple[int, int]) -> Tensor:
        x = F.pad(x, (*padding, *padding))
        return F.conv2d(x, kernel.expand(x.shape[1], 1, *kernel.shape), groups=x.shape[1])

    def twice(image: Tensor, kernel: Tensor) -> Tensor:
        batch, channels, height, width = image.shape
        spread = F.pad(image.view(batch, channels, height, 1, width, 1), (0, 1, 0, 0, 0, 1))
        return filtered(spread.reshape(batch, channels, 2 * height, 2 * width), 4 * kernel, (2, 1))

    def modulated(x: Tensor, prefix: str, w: Tensor, *, up: bool = False, demodulate: bool = True) -> Tensor:
        weight = part[f"{prefix}.weight"]
        style = F.linear(w, _scaled(part[f"{prefix}.affine.weight"]), part[f"{prefix}.affine.bias"])
        kernels = weight * style[:, None, :, None, None]
        if demodulate:
            kernels = kernels * (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        else:
            kernels = kernels / math.sqrt(weight[0].numel())
        batch, out, source, size, _ = kernels.shape
        x = x.reshape(1, batch * source, *x.shape[2:])
        if up:
            turned = kernels.transpose(1, 2).reshape(batch * source, out, size, size)
            x = F.conv_transpose2d(x, turned, stride=2, groups=batch)
            x = x.view(batch, out, *x.shape[2:])
            return filtered(x, 4 * part["resample_filter"], (1, 1))
        x = F.conv2d(x, kernels.reshape(batch * out, source, size, size), padding=size // 2, groups=batch)
        return x.view(batch, out, *x.shape[2:])

    def layer(x: Tensor, prefix: str, w: Tensor, noise: Tensor, up: bool = False) -> Tensor:
        x = modulated(x, prefix, w, up=up) + noise * part[f"{prefix}.noise_strength"]
        return F.leaky_relu(x + part[f"{prefix}.bias"].view(1, -1, 1, 1), _SLOPE) * math.sqrt(2)

    def synthesis(ws: Tensor, noise: Sequence[Tensor]) -> Tensor:
        x, image, taken = part["b4.const"].expand(len(ws), -1, -1, -1), None, 0
        for side in sides:
            if side > 4:
                x = layer(x, f"b{side}.conv0", ws[:, taken], noise[taken], up=True)
                taken += 1
            x = layer(x, f"b{side}.conv1", ws[:, taken], noise[taken])
            taken += 1
            colours = modulated(x, f"b{side}.torgb", ws[:, taken], demodulate=False)
            colours = colours + part[f"b{side}.torgb.bias"].view(1, -1, 1, 1)
            image = colours if image is None else twice(image, part["resample_filter"]) + colours
        assert image is not None
        return image

    return synthesis


def mobilestylegan(tensors: dict[str, Tensor]) -> Synthesis:
    """MobileStyleGAN (Belousov 2021): modulation, inverse Haar, separable convolutions."""
    part = {name.removeprefix("synthesis."): tensor for name, tensor in tensors.items()}
    blocks = sum(name.endswith("conv0.depthwise") for name in part)

    def modulated(x: Tensor, prefix: str, w: Tensor) -> Tensor:
        return x * F.linear(w, part[f"{prefix}.affine.weight"], part[f"{prefix}.affine.bias"])[:, :, None, None]

    def layer(x: Tensor, prefix: str, w: Tensor, noise: Tensor) -> Tensor:
        x = modulated(x, prefix, w)
        if f"{prefix}.depthwise" in part:
            x = F.conv2d(x, part[f"{prefix}.depthwise"], padding=1, groups=x.shape[1])
        weight = part[f"{prefix}.weight"]
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2) + noise * part[f"{prefix}.noise_strength"]
        return F.leaky_relu(x + part[f"{prefix}.bias"].view(1, -1, 1, 1), _SLOPE)

    def inverse_haar(x: Tensor) -> Tensor:
        channels = x.shape[1] // 4
        ll, (lh, hl, hh) = x[:, :channels], x[:, channels:].unflatten(1, (channels, 3)).unbind(2)
        quarters = (ll + lh + hl + hh, ll + lh - hl - hh, ll - lh + hl - hh, ll - lh - hl + hh)
        return F.pixel_shuffle(torch.stack(quarters, 2).flatten(1, 2) / 2, 2)

    def synthesis(ws: Tensor, noise: Sequence[Tensor]) -> Tensor:
        x = layer(part["const"].expand(len(ws), -1, -1, -1), "conv", ws[:, 0], noise[0])
        for index in range(blocks):
            block, first = f"block{index}", 2 * index + 1
            x = inverse_haar(modulated(x, f"{block}.up", ws[:, first]))
            x = layer(x, f"{block}.conv0", ws[:, first], noise[first])
            x = layer(x, f"{block}.conv1", ws[:, first + 1], noise[first + 1])
        x = F.conv2d(modulated(x, "to_image", ws[:, -1]), part["to_image.weight"], part["to_image.bias"])
        return inverse_haar(x)

    return synthesis


def synthesis_of(tensors: dict[str, Tensor]) -> Synthesis:
    """The synthesis network for a checkpoint's tensors."""
    families = {
        "synthesis.b4.const": stylegan2,
        "synthesis.blocks.4x4.const": stylegan1,
        "synthesis.block0.conv0.depthwise": mobilestylegan,
    }
    return next(family for name, family in families.items() if name in tensors)(tensors)


def downscale_kernel(factor: int) -> Tensor:
    """[4 * factor]: Keys' cubic filter (a = -0.5), stretched by the factor."""
    x = (torch.arange(4 * factor) + 0.5) / factor - 2
    x = x.abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    return weights / weights.sum()


def rate(step: int, steps: int) -> float:
    """The factor on the learning rate: up from 0.1 to 1 and back in 9/10 of the steps, then down to 0.001."""
    run = 0.9 * steps
    if step < run:
        return (9 * (1 - abs(step / run - 0.5) * 2) + 1) / 10
    return 0.1 + (step - run) / (0.1 * steps) * (0.001 - 0.1)


class PlainSearch:
    """The published loop: spherical latents and noise, 100 * L2 + 0.05 * GEOCROSS, Adam, linear1cycledrop.

    Args:
        target: [B, 3, h, h].
        noise_shapes: (height, width) per layer; the first five maps are optimised too.
        steps: the length of the schedule.
    """

    def __init__(
        self,
        synthesis: Synthesis,
        gaussian: LatentGaussian,
        num_ws: int,
        noise_shapes: Sequence[tuple[int, int]],
        target: Tensor,
        steps: int = 100,
    ):
        random = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=random).to(target)

        self.synthesis, self.target = synthesis, target
        self.mean, self.std = gaussian.mean.to(target), gaussian.std.to(target)
        self.latent = draw(len(target), num_ws, self.mean.numel()).requires_grad_()
        self.noise = [draw(len(target), 1, *shape) for shape in noise_shapes]
        self.noise[-1].zero_()
        self.moving = [self.latent, *(noise.requires_grad_() for noise in self.noise[:5])]
        self.radii = [_norms(value.detach()) for value in self.moving]
        self.adam = torch.optim.Adam(self.moving, lr=0.4)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adam, partial(rate, steps=steps))

    def step(self) -> Tensor:
        """One step; returns the squared error [B] before it."""
        ws = F.leaky_relu(self.latent * self.std + self.mean, _SLOPE)
        image = (self.synthesis(ws, self.noise) + 1) / 2
        l2 = (self._downscale(image) - self.target).square().mean((1, 2, 3))
        loss = 100 * l2.clamp(min=EPS).sum() + 0.05 * self._geocross(ws)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        with torch.no_grad():
            for value, radius in zip(self.moving, self.radii, strict=True):
                value.mul_(radius / _norms(value))
        self.schedule.step()
        return l2.detach()

    def _downscale(self, image: Tensor) -> Tensor:
        factor = image.shape[-1] // self.target.shape[-1]
        kernel = downscale_kernel(factor).to(image)
        padding = (4 * factor - factor) // 2
        x = F.pad(image, (padding, padding, padding, padding), mode="reflect")
        x = F.conv2d(x, kernel.view(1, 1, -1, 1).expand(3, 1, -1, 1), stride=(factor, 1), groups=3)
        return F.conv2d(x, kernel.view(1, 1, 1, -1).expand(3, 1, 1, -1), stride=(1, factor), groups=3)

    def _geocross(self, ws: Tensor) -> Tensor:
        left, right = ws[:, None], ws[:, :, None]
        distance = ((left - right).square().sum(-1) + 1e-9).sqrt()
        along = ((left + right).square().sum(-1) + 1e-9).sqrt()
        angle = 2 * torch.atan2(distance, along)
        return (angle.square() * 512).mean((1, 2)).div(8).sum()


def _norms(value: Tensor) -> Tensor:
    return (value.square().sum(tuple(range(2, value.ndim)), keepdim=True) + 1e-9).sqrt()

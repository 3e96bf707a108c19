"""Low-resolution evaluations with 16-bit features, on CUDA.

Only features and their gradients are stored in 16 bits. Products accumulate in float32; latents, styles, demodulation,
the forward operator and the loss are float32. Full evaluations, which decide convergence, are float32.

float16 holds numbers from 6e-8 to 65,504. Features of the generators here stay well inside; gradients do not, so
the gradient of the image is scaled to at most 1, and those of the latents and the noise are scaled back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..devices.optimizations import is_enabled
from ..generators.base import SynthesisNetwork
from ..latents.gaussian import LatentGaussian

_TYPES = (torch.float16, torch.bfloat16)  # the finer one first
_DRAWS = 4  # images that a dtype is tried with
_OFF = 0.02  # largest change of a small image, relative to its root mean square
_networks: WeakKeyDictionary[SynthesisNetwork, dict[tuple[torch.device, int], SynthesisNetwork]] = WeakKeyDictionary()


def network_for(synthesis: SynthesisNetwork, gaussian: LatentGaussian, side: int) -> SynthesisNetwork:
    """The network for small images of this side: with 16-bit features where they agree, or itself."""
    weight = next(synthesis.parameters())
    device = weight.device
    if device.type != "cuda" or weight.dtype != torch.float32 or not is_enabled("half", device):
        return synthesis
    known = _networks.setdefault(synthesis, {})
    if (device, side) not in known:
        known[device, side] = fitting(synthesis, gaussian, side)
    return known[device, side]


@torch.no_grad()
def fitting(synthesis: SynthesisNetwork, gaussian: LatentGaussian, side: int) -> SynthesisNetwork:
    """The network with features in the first dtype that renders the same small images, or itself."""
    random = torch.Generator().manual_seed(0)
    white = torch.randn(_DRAWS, 1, synthesis.w_dim, generator=random).to(gaussian.mean)
    ws, noise = gaussian.colour(white).expand(-1, synthesis.num_ws, -1), synthesis.const_noise()
    exact = synthesis.render_low_resolution(ws, noise, side)
    for dtype in _TYPES:
        other = synthesis.with_feature_dtype(dtype)
        error = other.render_low_resolution(ws, noise, side).float() - exact
        if bool(error.square().mean().sqrt() <= _OFF * exact.square().mean().sqrt()):  # false for nan
            return other
    return synthesis


def render(network: SynthesisNetwork, ws: Tensor, noise: Sequence[Tensor], side: int) -> Tensor:
    """`render_low_resolution` in float32, its gradients scaled inside where its features have 16 bits."""
    scale = _Scale()
    ws, *noise = (_Leave.apply(each, scale) for each in (ws, *noise))
    image = network.render_low_resolution(ws, noise, side)
    return image if image.dtype == ws.dtype else _Enter.apply(image, ws.dtype, scale)


class _Scale:
    """What the gradients inside are divided by: [B, 1, 1, 1], or 1."""

    value: Tensor | None = None


class _Enter(torch.autograd.Function):
    """Gradients enter the network here: those of each image are scaled to at most 1."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, dtype: torch.dtype, scale: _Scale) -> Tensor:
        ctx.scale, ctx.dtype = scale, image.dtype
        return image.to(dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.scale.value = grad.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(grad.dtype).tiny)
        return (grad / ctx.scale.value).to(ctx.dtype), None, None


class _Leave(torch.autograd.Function):
    """Gradients leave the network here, for the latents and the noise, and are scaled back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.scale.value is None:
            return grad, None
        return grad * ctx.scale.value.view(-1, *[1] * (grad.ndim - 1)), None

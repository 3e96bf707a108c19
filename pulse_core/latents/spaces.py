"""Latent spaces: drawing latents and noise maps, and the projection onto spheres.

A standard normal vector in d dimensions has a norm close to sqrt(d), so a search keeps every latent vector and every
noise map on the sphere of its initial norm (PULSE, section 3.2).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import torch
from torch import Tensor

SEEDS = 2**64  # seeds are 0..2^64-1, as in torch and ComfyUI

# W+: one vector per style input. W: one vector for all. staged: W first, then W+, then noise as well.
LATENT_SPACES = ("W+", "W", "staged")
# trainable: drawn, then optimised. fixed: drawn. zero: no noise.
NOISE_MODES = ("trainable", "fixed", "zero")


def seed_range(first: int, count: int) -> list[int]:
    """first, first + 1, ..., modulo 2^64."""
    return [(first + step) % SEEDS for step in range(count)]


def resolve_layers(indices: Iterable[int], count: int) -> set[int]:
    """Indices in 0..count-1; negative indices count from the end."""
    return {index % count for index in indices} if count else set()


def draw_latent(generator: torch.Generator, space: str, num_ws: int, w_dim: int) -> Tensor:
    """[num_ws or 1, w_dim], standard normal; drawn on the CPU in float32, so that all devices agree."""
    return torch.randn(1 if space == "W" else num_ws, w_dim, generator=generator)


def draw_noise(generator: torch.Generator, shapes: Sequence[tuple[int, int]], zero: Container[int]) -> list[Tensor]:
    """One standard normal map [1, H, W] per layer; zeros for layers in `zero`."""
    last_drawn = max((index for index in range(len(shapes)) if index not in zero), default=-1)
    maps = [
        torch.randn(1, *shape, generator=generator) if index <= last_drawn else torch.zeros(1, *shape)
        for index, shape in enumerate(shapes)
    ]
    return [torch.zeros_like(noise) if index in zero else noise for index, noise in enumerate(maps)]


def radius(x: Tensor) -> Tensor:
    """[B, L, ...] -> the norm of each x[b, l], with 1e-9 under the root for a finite gradient at zero."""
    return (x.square().sum(dim=tuple(range(2, x.ndim)), keepdim=True) + 1e-9).sqrt()


@torch.no_grad()
def project_to_sphere(x: Tensor, radii: Tensor) -> None:
    """Rescales each x[b, l] to its radius, in place."""
    x.mul_(radii / radius(x))

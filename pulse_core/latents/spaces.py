"""Where the search walks: latents on spheres, and how they become style vectors.

A standard normal vector in d dimensions has a norm close to sqrt(d), so the search keeps every latent
vector and every noise map on the sphere of its first norm (PULSE, section 3.2).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import torch
from torch import Tensor

SEEDS = 2**64  # seeds are 0..2^64-1, as torch and ComfyUI have them

# W+: one vector a style input. W: one vector for all of them. staged: W first, then W+, then the noise as well.
LATENT_SPACES = ("W+", "W", "staged")
# trainable: the first maps are searched too. fixed: drawn and kept. zero: none.
NOISE_MODES = ("trainable", "fixed", "zero")


def seed_range(first: int, count: int) -> list[int]:
    """first, first + 1, ...; the last seed is followed by 0."""
    return [(first + step) % SEEDS for step in range(count)]


def resolve_layers(indices: Iterable[int], count: int) -> set[int]:
    """Indices of `count` layers, negative ones counted from the end."""
    return {index % count for index in indices} if count else set()


def draw_latent(generator: torch.Generator, space: str, num_ws: int, w_dim: int) -> Tensor:
    """[num_ws or 1, w_dim], standard normal, drawn on the CPU in float32 so that every device agrees."""
    return torch.randn(1 if space == "W" else num_ws, w_dim, generator=generator)


def draw_noise(generator: torch.Generator, shapes: Sequence[tuple[int, int]], zero: Container[int]) -> list[Tensor]:
    """One standard normal map [1, H, W] a layer, those whose number is in `zero` all zero."""
    drawn = max((index for index in range(len(shapes)) if index not in zero), default=-1)  # nothing follows: not drawn
    maps = [
        torch.randn(1, *shape, generator=generator) if index <= drawn else torch.zeros(1, *shape)
        for index, shape in enumerate(shapes)
    ]
    return [torch.zeros_like(noise) if index in zero else noise for index, noise in enumerate(maps)]


def radius(x: Tensor) -> Tensor:
    """[B, L, ...] -> the norm of each x[b, l], with 1e-9 under the root so that zero stays differentiable."""
    return (x.square().sum(dim=tuple(range(2, x.ndim)), keepdim=True) + 1e-9).sqrt()


@torch.no_grad()
def project_to_sphere(x: Tensor, radii: Tensor) -> None:
    """Rescales each x[b, l] in place to its radius."""
    x.mul_(radii / radius(x))

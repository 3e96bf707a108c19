"""Faces from seeds, and from latents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..devices.check import check_device
from ..generators import Generator
from ..generators.mapping import draw_labels
from ..pictures.images import to_picture

if TYPE_CHECKING:
    from .latent import Latent

# kept: the latent's own maps, where it has some; else, and for const, the generator's. none: no noise.
LATENT_NOISE_MODES = ("kept", "const", "none")


def sample(
    generator: Generator, seeds: Iterable[int], truncation_psi: float = 1.0, class_index: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """One invented image a seed, one at a time.

    Args:
        seeds: 0..2^64-1 each; z is drawn on the CPU, so that a seed is the same face on every device.
        truncation_psi: 0..1; smaller is more average and cleaner, 1 is the generator's full variety.
        class_index: of a conditional generator; None draws one from each seed.

    Yields: image [3, H, W] in 0..1 and ws [num_ws, w_dim].

    Raises:
        SettingError: no such class, or a device that computes wrong numbers.
    """
    check_device(generator)
    like = next(generator.synthesis.parameters())
    for seed in seeds:
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(1, generator.z_dim, generator=random)
        c = draw_labels(1, generator.c_dim, class_index, random)
        with torch.no_grad():
            ws = generator.mapping(z.to(like), c, truncation_psi=truncation_psi)
            image = to_picture(generator.synthesis(ws, noise_mode="const"))
        yield image[0].clamp(0, 1), ws[0]


def synthesize(generator: Generator, latent: Latent, noise: str = "kept") -> Iterator[Tensor]:
    """The image of each latent, one at a time: [3, H, W] in 0..1.

    Args:
        noise: of LATENT_NOISE_MODES. With "kept" the result of a search is drawn again, but for what `fidelity`
            changed in it.

    Raises:
        SettingError: latents of another generator, or a device that computes wrong numbers.
    """
    latent.check(generator)
    check_device(generator)
    like = next(generator.synthesis.parameters())
    for row in range(len(latent)):
        one = latent.take([row]).map_tensors(lambda tensor: tensor.to(like))
        maps = one.noise if noise == "kept" and one.noise else None
        with torch.no_grad():
            image = generator.synthesis(one.ws, noise_mode="none" if noise == "none" else "const", noise=maps)
            yield to_picture(image[0]).clamp(0, 1)

"""Renders images from seeds and from saved latents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..defaults import own_defaults
from ..generators import Generator
from ..generators.device_check import check_device
from ..generators.mapping import draw_labels
from ..pictures.images import to_picture

if TYPE_CHECKING:
    from .latent import Latent

# kept: the latent's noise maps, or the generator's if it has none. const: the generator's. none: no noise.
LATENT_NOISE_MODES = ("kept", "const", "none")


@own_defaults
def sample(
    generator: Generator, seeds: Iterable[int], truncation_psi: float = 1.0, class_index: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Samples one image per seed, one at a time.

    Args:
        seeds: 0..2^64-1 each; z is drawn on the CPU, so a seed gives the same face on every device.
        truncation_psi: 0..1; smaller is closer to the average face, with fewer artefacts; 1 means no truncation.
        class_index: the class, for a conditional generator; None draws it from the seed.

    Yields: image [3, H, W] in 0..1 and ws [num_ws, w_dim].

    Raises:
        SettingError: no such class, or the device gives wrong results.
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


@own_defaults
def synthesize(generator: Generator, latent: Latent, noise: str = "kept") -> Iterator[Tensor]:
    """Renders latents one at a time, each an image [3, H, W] in 0..1.

    Args:
        noise: one of LATENT_NOISE_MODES. "kept" renders the result of a search again, without the residual that
            `fidelity` adds.

    Raises:
        SettingError: latents of another generator, or the device gives wrong results.
    """
    latent.check(generator)
    check_device(generator)
    like = next(generator.synthesis.parameters())
    for row in range(len(latent)):
        one = latent.take([row]).map_tensors(lambda tensor: tensor.to(like))
        maps = one.noise if noise == "kept" and one.noise else None
        with torch.no_grad():
            image = generator.synthesis(one.ws, noise_mode="none" if noise == "none" else "const", noise=maps)
            shown = to_picture(image[0]).clamp(0, 1)
        yield shown

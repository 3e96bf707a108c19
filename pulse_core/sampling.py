"""Faces from seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from .generators import Generator
from .generators.mapping import draw_labels
from .images import to_rgb


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
        SettingError: no such class.
    """
    like = next(generator.synthesis.parameters())
    for seed in seeds:
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(1, generator.z_dim, generator=random)
        c = draw_labels(1, generator.c_dim, class_index, random)
        with torch.no_grad():
            ws = generator.mapping(z.to(like), c, truncation_psi=truncation_psi)
            image = to_rgb((generator.synthesis(ws, noise_mode="const") + 1) / 2)
        yield image[0].clamp(0, 1), ws[0]

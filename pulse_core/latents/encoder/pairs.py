"""Pairs of a latent and its small picture, as many as are wanted: they cost nothing but rendering."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...checkpoints import read_checkpoint, safetensors_format
from ...devices.check import check_device
from ...errors import CheckpointError
from ...generators.mapping import draw_labels
from ...pictures.images import to_picture
from .augmentation import rounded
from .network import SIDE, canonical_size, to_canonical

if TYPE_CHECKING:
    from ...generators import Generator
    from ..gaussian import LatentGaussian

FIRST_SEED = 2**40  # far from the seeds that people use, so that nobody's face is one that was learned
BATCH = 16  # drawn together, from a seed of their own
SHARD = 128 * BATCH  # pairs of one file


def draw_pairs(
    generator: Generator,
    gaussian: LatentGaussian,
    pairs: int,
    *,
    class_index: int | None = None,
    folder: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Latents of the mapping network, drawn without truncation, and their pictures with noise drawn.

    Args:
        folder: keeps what was drawn, so that a stop loses a part of one file; None keeps nothing.
        on_progress: called with (done, pairs); what it raises stops the drawing.

    Returns: pictures [pairs, 3, h, w], uint8, of the encoder's size, and whitened w [pairs, w_dim], float16.
    """
    size = canonical_size(generator.size)
    pictures = torch.empty(pairs, 3, *size, dtype=torch.uint8)
    white = torch.empty(pairs, generator.w_dim, dtype=torch.float16)
    for first in range(0, pairs, SHARD):
        count = min(SHARD, pairs - first)
        file = folder / f"pairs-{first // SHARD:04d}-{count}.safetensors" if folder is not None else None
        kept = _kept(file, (count, 3, *size), (count, generator.w_dim))
        rows = slice(first, first + count)
        if kept is not None:
            pictures[rows], white[rows] = kept
            if on_progress is not None:
                on_progress(first + count, pairs)
            continue
        done = first
        for some_pictures, some_white in _drawn(generator, gaussian, first, count, class_index):
            many = len(some_white)
            # filled in place: small tensors between large ones that come and go would hold those' memory, too
            pictures[done : done + many], white[done : done + many] = some_pictures, some_white
            done += many
            if on_progress is not None:
                on_progress(done, pairs)
        if file is not None:
            safetensors_format.write(file, {"pictures": pictures[rows].clone(), "white": white[rows].clone()})
    return pictures, white


def _kept(file: Path | None, *shapes: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
    """What a file has, if it is whole and fits."""
    if file is None or not file.is_file():
        return None
    try:
        tensors = read_checkpoint(file).tensors
        pictures, white = tensors["pictures"], tensors["white"]
    except (CheckpointError, KeyError):
        return None
    if (pictures.shape, white.shape) != shapes or (pictures.dtype, white.dtype) != (torch.uint8, torch.float16):
        return None
    return pictures.read(), white.read()


@torch.no_grad()
def _drawn(
    generator: Generator, gaussian: LatentGaussian, first: int, count: int, class_index: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    check_device(generator)
    like = next(generator.synthesis.parameters())
    size = canonical_size(generator.size)
    for start in range(first, first + count, BATCH):
        many = min(BATCH, first + count - start)
        random = torch.Generator().manual_seed(FIRST_SEED + start)
        z = torch.randn(BATCH, generator.z_dim, generator=random)[:many]
        c = draw_labels(BATCH, generator.c_dim, class_index, random)
        ws = generator.mapping(z.to(like), None if c is None else c[:many])
        image = _rendered(generator, ws, random).float().cpu()
        small = rounded(to_canonical(image, size)).mul(255).round().byte()
        yield small, gaussian.whiten(ws[:, 0].float().cpu()).half()


def _rendered(generator: Generator, ws: Tensor, random: torch.Generator) -> Tensor:
    """[B, 3, h, w], about 0..1: coarse where the family can, which takes a tenth of the time."""
    synthesis, count = generator.synthesis, len(ws)
    if synthesis.has_low_resolution and generator.img_resolution >= SIDE:
        noise = [
            torch.randn(count, 1, *shape, generator=random).to(ws) if max(shape) <= SIDE else ws.new_zeros(1, 1, *shape)
            for shape in generator.noise_shapes
        ]
        return to_picture(synthesis.render_low_resolution(ws, noise, SIDE)).clamp(0, 1)
    images = []
    for row in ws.split(1):  # one at a time: whole pictures are large
        noise = [torch.randn(1, 1, *shape, generator=random).to(ws) for shape in generator.noise_shapes]
        image = to_picture(synthesis(row, noise=noise)).clamp(0, 1)
        images.append(to_canonical(image, canonical_size(generator.size)))
    return torch.cat(images)

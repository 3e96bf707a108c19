"""Training pairs for the encoder: latents that the generator samples, and their downscaled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...checkpoints import read_checkpoint, safetensors_format
from ...errors import CheckpointError
from ...generators import Generator
from ...generators.device_check import check_device
from ...generators.mapping import draw_labels
from ...pictures.images import to_picture
from ..gaussian import LatentGaussian
from .augmentation import quantise
from .network import SIDE, canonical_size, to_canonical

FIRST_SEED = 2**40  # far from seeds that people use, so that training and test faces differ
BATCH = 16  # pairs rendered together, with a seed of their own
SHARD = 128 * BATCH  # pairs per file


def draw_pairs(
    generator: Generator,
    gaussian: LatentGaussian,
    pairs: int,
    *,
    class_index: int | None = None,
    folder: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Samples latents without truncation and renders them with random noise.

    Args:
        folder: stores finished files of pairs, so that an interruption loses one file at most; None stores nothing.
        on_progress: called with (done, pairs); an exception from it stops the rendering.

    Returns: pictures [pairs, 3, h, w], uint8, of the encoder's input size, and whitened w [pairs, w_dim], float16.
    """
    size = canonical_size(generator.size)
    pictures = torch.empty(pairs, 3, *size, dtype=torch.uint8)
    white = torch.empty(pairs, generator.w_dim, dtype=torch.float16)
    for first in range(0, pairs, SHARD):
        count = min(SHARD, pairs - first)
        file = folder / f"pairs-{first // SHARD:04d}-{count}.safetensors" if folder is not None else None
        stored = _read_shard(file, (count, 3, *size), (count, generator.w_dim))
        rows = slice(first, first + count)
        if stored is not None:
            pictures[rows], white[rows] = stored
            if on_progress is not None:
                on_progress(first + count, pairs)
            continue
        done = first
        for new_pictures, new_white in _render_pairs(generator, gaussian, first, count, class_index):
            batch_size = len(new_white)
            # written in place: many small tensors would fragment the memory between large ones
            batch = slice(done, done + batch_size)
            pictures[batch], white[batch] = new_pictures, new_white
            done += batch_size
            if on_progress is not None:
                on_progress(done, pairs)
        if file is not None:
            safetensors_format.write(file, {"pictures": pictures[rows].clone(), "white": white[rows].clone()})
    return pictures, white


def _read_shard(file: Path | None, *shapes: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
    """The pairs in a file; None if it is missing, damaged, or of other shapes."""
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
def _render_pairs(
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
        image = _render_batch(generator, ws, random).float().cpu()
        small = quantise(to_canonical(image, size)).mul(255).round().byte()
        yield small, gaussian.whiten(ws[:, 0].float().cpu()).half()


def _render_batch(generator: Generator, ws: Tensor, random: torch.Generator) -> Tensor:
    """ws -> [B, 3, h, w] in 0..1, at low resolution if the family supports it, which takes a tenth of the time."""
    synthesis, count = generator.synthesis, len(ws)
    if synthesis.has_low_resolution and generator.img_resolution >= SIDE:
        noise = [
            torch.randn(count, 1, *shape, generator=random).to(ws) if max(shape) <= SIDE else ws.new_zeros(1, 1, *shape)
            for shape in generator.noise_shapes
        ]
        return to_picture(synthesis.render_low_resolution(ws, noise, SIDE)).clamp(0, 1)
    images = []
    for row in ws.split(1):  # one at a time: full images are large
        noise = [torch.randn(1, 1, *shape, generator=random).to(ws) for shape in generator.noise_shapes]
        image = to_picture(synthesis(row, noise=noise)).clamp(0, 1)
        images.append(to_canonical(image, canonical_size(generator.size)))
    return torch.cat(images)

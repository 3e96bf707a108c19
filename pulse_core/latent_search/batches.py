"""What is searched together: one job a solution, neighbours of one size in a batch, smaller ones where memory ends."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Protocol

import torch

from ..devices.device import free_memory, is_out_of_memory
from ..errors import SettingError
from ..generators import Generator
from ..generators.working_memory import search_memory
from ..latents.spaces import seed_range
from .config import SearchConfig
from .solution import Job, Solution

if TYPE_CHECKING:
    from ..latents.latent import Latent

_MOST = 16  # images at once; beyond that even a large card gains nothing
_SHARE = 0.7  # of the free memory


def jobs_of(images: int, seed: int | Sequence[int], solutions: int) -> list[Job]:
    """The solutions to look for, image by image."""
    seeds = [seed] * images if isinstance(seed, int) else list(seed)
    if len(seeds) != images:
        raise SettingError(
            f"{len(seeds)} seeds were given for {images} images.", "one seed, or one for each image.", "give as many."
        )
    return [Job(index, each) for index, first in enumerate(seeds) for each in seed_range(first, solutions)]


def rows_of(init_latent: Latent | None, jobs: Sequence[Job], images: int) -> dict[Job, int]:
    """Which of the latents each job begins with: one each, or one for all images that are searched for once.

    Raises:
        SettingError: another number of latents.
    """
    if init_latent is None:
        return {}
    if len(init_latent) == len(jobs):
        return {job: row for row, job in enumerate(jobs)}
    if len(init_latent) == 1 and len(jobs) == images:
        return dict.fromkeys(jobs, 0)
    raise SettingError(
        f"There are {len(init_latent)} latents in init_latent, and {len(jobs)} solutions of {images} images.",
        "one latent for each solution, or one for all images with solutions at 1.",
        "set solutions to 1, or blend or choose latents until there are as many.",
    )


def batches(jobs: Sequence[Job], kinds: Sequence[Hashable], most: int) -> Iterator[tuple[Job, ...]]:
    """At most so many jobs at a time, whose images are of one kind (Problem.kinds).

    In the order of the jobs where that is 1; otherwise kind by kind, so that few batches stay small.
    """
    if most > 1:
        first = {kind: index for index, kind in reversed(list(enumerate(kinds)))}
        jobs = sorted(jobs, key=lambda job: first[kinds[job.index]])
    for _, alike in groupby(jobs, key=lambda job: kinds[job.index]):
        while batch := tuple(islice(alike, most)):
            yield batch


def batch_size_on(generator: Generator, config: SearchConfig, jobs: int) -> int:
    """How many of the jobs are searched for at once, where the settings leave that open.

    A CPU works as long on two images as on one and one. A GPU does not: a low-resolution step takes four images in 1.3
    (MobileStyleGAN) to 1.9 times (StyleGAN1) the time of one, as it is bound by launches (H200, bench/RESULTS.md). So
    as many as fit into _SHARE of the memory that is free, by doubling, up to _MOST; one where that is not known.
    """
    if config.candidates > 1:
        return 1  # each solution chooses its own start
    device = _device_of(generator)
    free = free_memory(device) if device.type != "cpu" else None
    if config.batch_size or free is None:
        return config.batch_size or 1
    size = 1
    while 2 * size <= min(_MOST, jobs) and search_memory(generator, 2 * size) <= _SHARE * free:
        size *= 2
    return size


def _device_of(generator: Generator) -> torch.device:
    return next(generator.synthesis.parameters()).device


class Find(Protocol):
    """Searches for some jobs at once; short: memory is, as they did not fit otherwise."""

    def __call__(self, batch: tuple[Job, ...], *, short: bool) -> list[Solution]: ...


def found_in_parts(batch: tuple[Job, ...], find: Find, make_room: Callable[[], None]) -> Iterator[Solution]:
    """The solutions of a batch; where memory ends it is freed, and the batch halved until it fits.

    Args:
        make_room: frees what can be freed besides; a single job is tried once more after it, as one that is short.

    Raises:
        SettingError: not even one fits.
    """
    waiting, tried_alone = [batch], False
    while waiting:
        part = waiting.pop()
        try:
            found, reason = find(part, short=tried_alone), ""
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            found, reason = [], str(error).splitlines()[0] if str(error) else type(error).__name__
        if not reason:
            yield from found
            tried_alone = False
            continue
        # outside of the except block: the error holds the frames, and those the tensors
        gc.collect()
        make_room()
        if len(part) == 1 and tried_alone:
            raise SettingError(
                f"The memory does not suffice for a search of even one image ({reason}).",
                "the generator and the layers of one image with their gradients in the memory of the device.",
                "close other programs that use it, unload other models, or take a smaller generator.",
            )
        tried_alone = len(part) == 1
        half = max(1, len(part) // 2)
        waiting += [rest for rest in (part[half:], part[:half]) if rest]

"""What a search is given, checked and brought to the generator's device and dtype."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..degradations import Degradation, forward_operator
from ..degradations.per_image import combine
from ..errors import ImageError, SettingError
from ..generators import Generator
from ..generators.device_check import check_device
from ..latents.gaussian import LatentGaussian
from ..pictures.images import prepare_target
from .batches import jobs_of, rows_of
from .config import SearchConfig
from .solution import Job

if TYPE_CHECKING:
    from ..latents.latent import Latent


@dataclass(frozen=True)
class Problem:
    """All targets of one call, and the solutions to look for.

    targets: [C, h, w] each. degradations: one for each target; None is bicubic downscaling to its size.
    jobs: target by target. init_latents: with a row for each job; None leaves the initialisation to the settings.
    """

    generator: Generator
    gaussian: LatentGaussian
    config: SearchConfig
    targets: list[Tensor]
    degradations: list[Degradation | None]
    jobs: list[Job]
    init_latents: Latent | None
    _rows: dict[Job, int]

    @classmethod
    def of(
        cls,
        generator: Generator,
        target: Tensor | Sequence[Tensor],
        gaussian: LatentGaussian,
        config: SearchConfig,
        seed: int | Sequence[int],
        degradation: Degradation | Sequence[Degradation | None] | None,
        init_latent: Latent | None,
    ) -> Problem:
        """See loop.search.

        Raises:
            ImageError, SettingError: as there.
        """
        if gaussian.mean.shape != (generator.w_dim,):
            raise SettingError(
                f"The latent fit has {gaussian.mean.numel()} dimensions; W of {generator.name} has {generator.w_dim}.",
                "a fit of this generator.",
                "make one with `fit`, or leave it out.",
            )
        _check_glasses(generator, gaussian, config, init_latent)
        check_device(generator)
        like = next(generator.synthesis.parameters())
        images = _images(target)
        degradations = _for_each(degradation, len(images))
        targets = [_prepared(image, generator, each).to(like) for image, each in zip(images, degradations, strict=True)]
        if init_latent is not None:
            init_latent.check(generator)
            init_latent = init_latent.map_tensors(lambda tensor: tensor.to(like))
        jobs = jobs_of(len(targets), seed, config.solutions)
        rows = rows_of(init_latent, jobs, len(targets))
        gaussian = gaussian.map_tensors(lambda tensor: tensor.to(like))
        return cls(generator, gaussian, config, targets, degradations, jobs, init_latent, rows)

    @property
    def kinds(self) -> list[Hashable]:
        """Of each target; those of one kind may share a batch: their operators can be combined (PerImage)."""
        return [self._kind(index) for index in range(len(self.targets))]

    def _kind(self, index: int) -> Hashable:
        shape, degradation = self.targets[index].shape, self.degradations[index]
        a = forward_operator(degradation, (shape[-2], shape[-1]), self.generator.size)
        return shape, a is degradation, a.takes_any_size

    def operators(self, jobs: Sequence[Job]) -> tuple[int, ...]:
        """The identities of a batch's operators: captured steps are replayed with the same ones only."""
        return tuple(id(self.degradations[job.index]) for job in jobs)

    def batch(self, jobs: Sequence[Job]) -> tuple[Tensor, Degradation, Latent | None]:
        """y projected onto the range of A, [B, C, h, w], A itself, and the latents to begin with."""
        y = torch.stack([self.targets[job.index] for job in jobs])
        degradation = combine([self.degradations[job.index] for job in jobs])
        a = forward_operator(degradation, (y.shape[-2], y.shape[-1]), self.generator.size)
        init = None if self.init_latents is None else self.init_latents.take([self._rows[job] for job in jobs])
        return a.project(y), a, init


def _check_glasses(
    generator: Generator, gaussian: LatentGaussian, config: SearchConfig, init_latent: Latent | None
) -> None:
    if config.glasses == "auto":
        return
    if gaussian.glasses is None:
        raise SettingError(
            f"glasses is {config.glasses!r}, and the latent fit of {generator.name} does not know glasses.",
            "with and without for fits that do: the one that is shipped for ffhq-mobile.",
            "choose auto, or leave out the fit if you gave one.",
        )
    if init_latent is not None:
        raise SettingError(
            f"glasses is {config.glasses!r}, and the search begins at a given latent.",
            "one of the two; a latent has glasses already, or has none.",
            "choose auto, or leave out init_latent.",
        )


def _images(target: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """[C, h, w] each."""
    parts = [target] if isinstance(target, Tensor) else target
    images = [image for part in parts for image in (part if part.ndim == 4 else [part])]
    if not images:
        raise ImageError("There is no target.", "at least one image.", "give a picture.")
    return images


def _for_each(degradation: Degradation | Sequence[Degradation | None] | None, images: int) -> list[Degradation | None]:
    if degradation is None or isinstance(degradation, Degradation):
        return [degradation] * images
    if len(degradation) != images:
        raise SettingError(
            f"{len(degradation)} degradations were given for {images} images.",
            "one for all images, or one for each.",
            "give as many.",
        )
    return list(degradation)


def _prepared(image: Tensor, generator: Generator, degradation: Degradation | None) -> Tensor:
    """[C, h, w]; only a degradation that makes this very size of the generator's image may change its shape."""
    size = (image.shape[-2], image.shape[-1])
    own = degradation is not None and degradation.output_size(*generator.size) == size
    return prepare_target(image, generator, any_size=own)[0]

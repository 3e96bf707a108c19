"""The whole way of a photograph: its faces are found, searched for, and put back.

photograph -> Faces -> aligned face -> low-resolution target -> search -> restored face
    |                                                                        |
    +----------------------------------> paste <-----------------------------+

Each line of `restore` is a room of `faces/`, or the search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .degradations import Degradation
from .faces.alignment import align
from .faces.face import Faces
from .faces.finding import FindSettings, find_faces, no_face_error
from .faces.pasting import PasteSettings, Patch, paste
from .faces.sizes import AUTO, face_degradation, face_target_size, match_colour_mode, resize_to_target
from .fetching import catalogue
from .generators import Generator
from .latent_search.config import SearchConfig
from .latent_search.loop import search
from .latent_search.solution import OnStep, Solution
from .latents.gaussian import LatentGaussian, gaussian_for
from .pictures.images import read_image
from .pipeline import load_with_fit


@dataclass(frozen=True)
class Restored:
    """A photograph with invented faces in it.

    picture: [3, H, W] in 0..1. invented: [H, W], 0 where it is the photograph's own, 1 where all is invented.
    faces: where they were found; solutions: what was laid in for each.
    """

    picture: Tensor
    invented: Tensor
    faces: Faces
    solutions: tuple[Solution, ...]


def restore(
    photo: Tensor | Path | str,
    generator: Generator | Path | str = catalogue.DEFAULT_GENERATOR,
    gaussian: LatentGaussian | None = None,
    config: SearchConfig | None = None,
    *,
    finding: FindSettings | None = None,
    pasting: PasteSettings | None = None,
    size: int = AUTO,
    seed: int = 0,
    degradation: Degradation | None = None,
    device: torch.device | str | None = None,
    on_step: OnStep | None = None,
) -> Restored:
    """Invents a face for each one in a photograph, so that it scales down to what the photograph shows.

    Args:
        photo: a file, or [3, H, W] in 0..1.
        generator, gaussian, config, degradation, device, on_step: see `pipeline.upscale`.
        size: pixels a side that each face is matched at; 0 takes what it holds (see faces.sizes).
        seed: of every face.

    Raises:
        ImageError: no face, or a photograph that cannot be read.
    """
    picture = photo if isinstance(photo, Tensor) else read_image(photo)
    finding = finding or FindSettings()
    faces = find_faces([picture], finding)
    if not faces:
        raise no_face_error(finding, picture.shape[-2:])
    if not isinstance(generator, Generator):
        generator, gaussian = load_with_fit(generator, gaussian, device=device)
    fit = gaussian or gaussian_for(generator)
    solutions = tuple(
        search(generator, target, fit, config, seed=seed, degradation=seen, on_step=on_step)[0]
        for target, seen in face_targets(picture, faces, generator, size, degradation)
    )
    restored = [match_colour_mode(solution.image, face) for face, solution in zip(faces, solutions, strict=True)]
    smallest_first = [Patch(*pair) for pair in zip(faces, restored, strict=True)][::-1]
    pasted = paste(picture, faces.sources[0], smallest_first, pasting, faces)
    return Restored(pasted.picture, pasted.invented, faces, solutions)


def face_targets(
    picture: Tensor, faces: Faces, generator: Generator, size: int = AUTO, degradation: Degradation | None = None
) -> Iterator[tuple[Tensor, Degradation | None]]:
    """For each face of one photograph, what a search of this generator should match.

    Args:
        degradation: what the search looks through; None takes what was measured.

    Yields: the target [3, h, w], and its degradation, which also hides what lies beyond the photograph's border.
    """
    for face, aligned in zip(faces, align([picture], faces, generator.size[1]), strict=True):
        width = size or face_target_size(face, generator.size[1])
        yield (
            resize_to_target(aligned, width, generator.size),
            face_degradation(face, faces.sources[face.picture], width, degradation),
        )

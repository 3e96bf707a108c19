"""From a photograph to the same photograph with restored faces, end to end.

photograph -> Faces -> aligned faces -> targets -> search -> restored faces
    |                                                              |
    +------------------------> paste <-----------------------------+

`restore` does all of it. The command line calls it with hooks: a `FaceStore` that keeps restored faces in files and
resumes, and `on_faces` and `on_step` for the progress bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .defaults import own_defaults
from .degradations import Degradation
from .errors import ImageError
from .faces.alignment import align
from .faces.face import Face, Faces, Source
from .faces.finding import FindSettings, find_faces, no_face_error
from .faces.pasting import Pasted, PasteSettings, Patch, paste
from .faces.sizes import AUTO, MIN_FACE_SIDE, face_degradation, face_target_size, resize_to_target
from .generators import Generator
from .latent_search.config import SearchConfig
from .latent_search.solution import OnStep, Solution
from .latents.gaussian import LatentGaussian
from .loading import catalogue
from .pictures.arrays import ArrayLike, as_tensor
from .pictures.images import read_image, to_rgb
from .pictures.picture import Picture
from .pipeline import Target, load_with_fit, search_targets

OnFaces = Callable[[Faces, "tuple[Face, ...]"], None]


@dataclass(frozen=True)
class Restored:
    """A photograph with invented faces in it, or a batch of them.

    picture: [3, H, W] in 0..1, [4, H, W] with alpha; of a `Picture` given, its `native`, with the faces in it. Of a
        batch [B, ...].
    invented: [H, W] in 0..1, the share of the restored faces in each pixel; [B, H, W] of a batch.
    faces: those that were restored, of each photograph in turn, the largest first.
    solutions: the one that was pasted for each face. A `FaceStore` that keeps them elsewhere leaves this empty.
    """

    picture: Tensor
    invented: Tensor
    faces: Faces
    solutions: tuple[Solution, ...]


class FaceStore:
    """Keeps restored faces until all of them are pasted; this one in memory.

    A subclass may keep them elsewhere, and have some from an earlier run. Faces are numbered from 0, the largest first.
    """

    def __init__(self) -> None:
        self.solutions: dict[int, Solution] = {}

    def has(self, number: int, target: Target) -> bool:
        """Whether this face is restored already, so that no search is needed. Asked once for each face."""
        return False

    def put(self, number: int, target: Target, solution: Solution) -> None:
        """Takes the best solution of a face, as soon as it is found."""
        self.solutions[number] = solution

    def image(self, number: int) -> Tensor:
        """[3, S, S] in 0..1: the restored face, which it has or was given."""
        return self.solutions[number].image


@own_defaults
def restore(
    photo: ArrayLike | Picture | Path | str,
    generator: Generator | Path | str = catalogue.DEFAULT_GENERATOR,
    gaussian: LatentGaussian | None = None,
    config: SearchConfig | None = None,
    *,
    finding: FindSettings | None = None,
    pasting: PasteSettings | None = None,
    lr_size: int = AUTO,
    seed: int = 0,
    degradation: Degradation | None = None,
    device: torch.device | str | None = None,
    require_face: bool = True,
    store: FaceStore | None = None,
    on_faces: OnFaces | None = None,
    on_step: OnStep | None = None,
) -> Restored:
    """Searches for a face for each one in a photograph, so that it downscales to what the photograph shows.

    Args:
        photo: a file; a tensor [C, H, W] or [B, C, H, W] in 0..1; a PIL image; a numpy array [H, W, C] or
            [B, H, W, C], uint8 or in 0..1; or a `Picture`, whose colour space the result keeps. C is 1 (grey), 2 (grey
            and alpha), 3 or 4. Alpha is kept.
        generator, gaussian, config, device, on_step: see `pipeline.upscale`.
        finding, pasting: which faces count, and how they are pasted. None: the defaults.
        lr_size: width in pixels at which each face is matched. 0: its effective size; faces below 12 pixels are then
            left as they are.
        seed: of every face. Of several solutions the one with the best `score` is pasted.
        degradation: replaces the estimate of each face.
        require_face: whether a photograph without any face is an error; otherwise it comes back as it is, or enlarged.
        store: keeps the restored faces, and may have some already. None: in memory.
        on_faces: called before the search with the faces to restore and those that are too small.

    Raises:
        ImageError: no face, or the photograph is not readable.
    """
    own = photo if isinstance(photo, Picture) else None
    canvas = _canvas(photo)
    pictures = [to_rgb(each) for each in canvas] if own is None else [own.srgb]
    finding = finding or FindSettings()
    faces, too_small = _large_enough(find_faces(pictures, finding), lr_size)
    if not faces and require_face:
        raise no_face_error(finding, canvas.shape[-2:])
    generator, gaussian = load_with_fit(generator, gaussian, device=device)
    if on_faces is not None:
        on_faces(faces, too_small)
    store = FaceStore() if store is None else store
    aligned = align(pictures, faces, generator.size[1])
    targets = dict(enumerate(face_targets(aligned, faces, generator, lr_size, degradation)))
    missing = {number: target for number, target in targets.items() if not store.has(number, target)}
    for number, solution in _restored(missing, generator, gaussian, config, seed, on_step):
        store.put(number, missing[number], solution)
    pasted = [_pasted(each, number, faces, store, pasting, own) for number, each in enumerate(canvas)]
    solutions = tuple(store.solutions[number] for number in sorted(store.solutions))
    picture, invented = torch.stack([each.picture for each in pasted]), torch.stack([each.invented for each in pasted])
    if isinstance(photo, (Tensor, np.ndarray)) and photo.ndim == 4:
        return Restored(picture, invented, faces, solutions)
    return Restored(picture[0], invented[0], faces, solutions)


def _canvas(photo: ArrayLike | Picture | Path | str) -> Tensor:
    """[B, 3 or 4, H, W]: the photographs into which faces are pasted, with their alpha."""
    if isinstance(photo, Picture):
        return photo.native[None]
    tensor = read_image(photo) if isinstance(photo, (Path, str)) else as_tensor(photo)
    batch = tensor if tensor.ndim == 4 else tensor[None]
    if batch.ndim != 4 or batch.numel() == 0 or batch.shape[1] not in (1, 2, 3, 4):
        raise ImageError(
            f"The photograph has the shape {list(tensor.shape)}.",
            "[C, H, W] or [B, C, H, W] with C of 1 (grey), 2 (grey and alpha), 3 or 4.",
            "give a picture, or a batch of them.",
        )
    colours = batch.shape[1] - (batch.shape[1] in (2, 4))
    return torch.cat([batch[:, :colours].expand(-1, 3, -1, -1), batch[:, colours:]], 1)


def _pasted(
    canvas: Tensor, number: int, faces: Faces, store: FaceStore, pasting: PasteSettings | None, own: Picture | None
) -> Pasted:
    """The restored faces of one photograph, pasted into it, the smallest first."""
    here = dict(faces.of_picture(number))
    images = ((face, store.image(index)) for index, face in reversed(here.items()))
    patches = (Patch(face, image if own is None else own.from_srgb(image)) for face, image in images)
    source = Source.of(canvas[:3])  # in other colours than the faces' source
    return paste(canvas, source, patches, pasting, here.values())


def face_targets(
    aligned: Iterable[Tensor],
    faces: Faces,
    generator: Generator,
    lr_size: int = AUTO,
    degradation: Degradation | None = None,
) -> Iterator[Target]:
    """The low-resolution target of each face.

    Args:
        aligned: [3, S, S] for each face, as `align` gives them.
        lr_size: width in pixels; 0: the effective size of each.
        degradation: replaces the estimate of each face.

    Yields: targets, whose degradation also masks what lies beyond the photograph's border.
    """
    for face, image in zip(faces, aligned, strict=True):
        size = lr_size or face_target_size(face, generator.size[1])
        operator = face_degradation(face, faces.sources[face.picture], size, degradation)
        yield Target(resize_to_target(image, size, generator.size), face.side, operator, face.estimate, face)


def _large_enough(faces: Faces, lr_size: int) -> tuple[Faces, tuple[Face, ...]]:
    """The faces that show enough for a search, and the others; with a size of the caller's own all do."""
    large = tuple(face for face in faces if lr_size or face.side >= MIN_FACE_SIDE)
    return replace(faces, faces=large), tuple(face for face in faces if not lr_size and face.side < MIN_FACE_SIDE)


def _restored(
    targets: dict[int, Target],
    generator: Generator,
    gaussian: LatentGaussian,
    config: SearchConfig | None,
    seed: int,
    on_step: OnStep | None,
) -> Iterator[tuple[int, Solution]]:
    """(number, its best solution) of each target, as soon as it is found."""
    if not targets:
        return
    numbers, config = list(targets), config or SearchConfig()
    found = search_targets(list(targets.values()), generator, gaussian, config, seed=seed, on_step=on_step)
    while solutions := list(islice(found, config.solutions)):  # those of one face follow each other
        yield numbers[solutions[0].index], min(solutions, key=lambda solution: solution.score)

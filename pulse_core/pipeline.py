"""From a low-resolution picture to faces that downscale to it, end to end.

    checkpoint file -> Generator -> LatentGaussian -> search -> image [3, H, W] in 0..1
                                                        ^
                    picture -> Target (its size) -------+

`upscale` does all of it. The command line and the nodes call the same steps: `load_with_fit`, `choose_targets`,
`search_targets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .defaults import own_defaults
from .degradations import Degradation
from .devices.device import best_device, empty_cache, named_device
from .faces.sizes import AUTO, match_colour_mode
from .faces.targets import plain_target, size_summary
from .generators import Generator
from .latent_search.config import SearchConfig
from .latent_search.loop import iter_search
from .latent_search.solution import OnStep, Solution, ranking
from .latents.fits import gaussian_for
from .latents.gaussian import LatentGaussian
from .latents.latent import Latent
from .loading import catalogue
from .loading.load import load_generator
from .pictures.arrays import ArrayLike, as_tensor
from .pictures.images import prepare_target, read_image, to_rgb

if TYPE_CHECKING:
    from .faces.estimation import DegradationEstimate
    from .faces.face import Face


@dataclass(frozen=True)
class Target:
    """A low-resolution picture to match, and how it came about.

    picture: [3, h, w] in 0..1.
    input_size: width in pixels of the picture from which it was made, or of the face in its photograph.
    degradation: what happened to it besides downscaling; None: nothing.
    estimate: the degradation estimate of the input; None if there is none.
    face: the face of a photograph; None for a plain picture.
    """

    picture: Tensor
    input_size: float
    degradation: Degradation | None = None
    estimate: DegradationEstimate | None = None
    face: Face | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "picture", as_tensor(self.picture))  # it may be an array

    @property
    def lr_size(self) -> int:
        """Its width in pixels."""
        return self.picture.shape[-1]

    @property
    def summary(self) -> str:
        """The size at which it is matched, as in "matched at 24 of 256 pixels" or "32x32"."""
        height, width = self.picture.shape[-2:]
        return size_summary(width, self.input_size) or f"{width}x{height}"

    @property
    def metadata(self) -> dict[str, Any]:
        """For the report and the files of a result."""
        return {
            "lr_size": self.lr_size,
            "input_size": round(self.input_size, 1),
            "estimate": None if self.estimate is None else self.estimate.metadata,
            "degradation": None if self.degradation is None else str(self.degradation),
        }


@own_defaults
def upscale(
    picture: Target | ArrayLike | Path | str,
    generator: Generator | Path | str = catalogue.DEFAULT_GENERATOR,
    gaussian: LatentGaussian | None = None,
    config: SearchConfig | None = None,
    *,
    lr_size: int = AUTO,
    seed: int | Sequence[int] = 0,
    degradation: Degradation | None = None,
    init_latent: Latent | None = None,
    device: torch.device | str | None = None,
    on_step: OnStep | None = None,
) -> list[Solution]:
    """Searches for faces whose downscaling is the picture. They are of people who do not exist.

    Args:
        picture: a file; a tensor [C, h, w] or [B, C, h, w] in 0..1, a PIL image or a numpy array [h, w, C] or
            [B, h, w, C], uint8 or in 0..1, with the generator's aspect ratio; or a target.
        generator: a loaded one, a name from the catalogue, or a checkpoint file.
        gaussian: the latent fit with its encoder. None: the one that is shipped or cached, or a new fit.
        config: the search settings. None: the recommended ones.
        lr_size: width in pixels at which the picture is matched. 0: its effective size, for a picture that was
            enlarged before; pictures below 96 pixels, or with a degradation, are matched as they are.
        seed, degradation, init_latent: see `search`.
        device: where to load the generator. None: the best there is.
        on_step: called after each step; may stop the search. See `search`.

    Returns: `config.solutions` solutions for each picture, the one with the best `score` first.

    Raises:
        PulseError: a picture, checkpoint or setting is not usable; the message says what to do.
    """
    generator, gaussian = load_with_fit(generator, gaussian, device=device)
    if isinstance(picture, Target):
        targets = [picture]
    else:
        image = read_image(picture) if isinstance(picture, (Path, str)) else as_tensor(picture)
        targets = choose_targets(image if image.ndim == 4 else [image], generator, lr_size, degradation)
    options: dict[str, Any] = {"seed": seed, "init_latent": init_latent, "on_step": on_step}
    found = list(search_targets(targets, generator, gaussian, config, **options))
    return [found[row] for row in ranking(found)]


@own_defaults
def choose_targets(
    pictures: Iterable[ArrayLike], generator: Generator, lr_size: int = AUTO, degradation: Degradation | None = None
) -> list[Target]:
    """The low-resolution target of each picture; for pictures, `lr_size` and `degradation` see `upscale`.

    Raises:
        ImageError: no colours, or a shape or size that the generator cannot be downscaled to.
    """
    targets = []
    for picture in pictures:
        chosen = plain_target(to_rgb(as_tensor(picture)), lr_size, generator.size, degradation)
        prepare_target(chosen.picture, generator, any_size=degradation is not None)
        targets.append(Target(chosen.picture, chosen.input_size, degradation, chosen.estimate))
    return targets


@own_defaults
def search_targets(
    targets: Sequence[Target],
    generator: Generator,
    gaussian: LatentGaussian,
    config: SearchConfig | None = None,
    *,
    seed: int | Sequence[int] = 0,
    init_latent: Latent | None = None,
    on_step: OnStep | None = None,
    make_room: Callable[[], None] = empty_cache,
) -> Iterator[Solution]:
    """The solutions of all targets, one by one as they are found; their `index` is the target's place.

    Targets of one size are searched together where the batch size allows. The image of a grey photograph's face is
    grey. For the arguments and errors see `iter_search`.
    """
    solutions = iter_search(
        generator,
        [target.picture for target in targets],
        gaussian,
        config,
        seed=seed,
        degradation=[target.degradation for target in targets],
        init_latent=init_latent,
        on_step=on_step,
        make_room=make_room,
    )
    for solution in solutions:
        face = targets[solution.index].face
        yield solution if face is None else replace(solution, image=match_colour_mode(solution.image, face))


@own_defaults
def load_with_fit(
    source: Generator | Path | str,
    gaussian: LatentGaussian | None = None,
    mapping: Path | str | None = None,
    *,
    class_index: int | None = None,
    device: torch.device | str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Generator, LatentGaussian]:
    """A generator on its device, and its latent fit: given, shipped, saved beside the file, cached, or fitted now.

    Args:
        source: a loaded generator, which stays on its device; a name from the catalogue, or a checkpoint file.
        mapping: the file of the mapping network, if it is a separate one.
        class_index: for a conditional generator, the class of the fit and so of the search. None: all classes.
        device: where to load it. None: the best there is.

    Raises:
        CheckpointError: the file is not usable.
        SettingError: no such device.
    """
    if isinstance(source, Generator):
        generator = source
    else:
        generator = load_generator(source, mapping, device=best_device() if device is None else named_device(device))
    if gaussian is None:
        gaussian = gaussian_for(generator, class_index=class_index, on_progress=on_progress)
    return generator, gaussian

"""What PULSE Search is to match: images, or the faces of photographs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..pulse_core.errors import SettingError
from ..pulse_core.faces.sizes import face_degradation, face_target_size, match_colour_mode, resize_to_target
from ..pulse_core.faces.targets import plain_target, size_summary
from . import host

if TYPE_CHECKING:
    from ..pulse_core.degradations import Degradation
    from ..pulse_core.faces.estimation import DegradationEstimate
    from ..pulse_core.faces.face import Face
    from ..pulse_core.generators import Generator


@dataclass(frozen=True)
class Target:
    """What one search matches.

    picture: [3, h, w]. given: how many pixels wide it was, in its image or in its photograph. through: what the search
    looks through. estimate: what was measured. face: None for a plain image.
    """

    picture: Tensor
    input_size: float
    degradation: Degradation | None
    estimate: DegradationEstimate | None
    face: Face | None = None

    @property
    def summary(self) -> str:
        """At which size it is matched."""
        height, width = self.picture.shape[-2:]
        return size_summary(width, self.input_size) or f"{width}x{height}"

    @property
    def metadata(self) -> dict[str, Any]:
        """For the report."""
        estimate = None if self.estimate is None else self.estimate.metadata
        through = None if self.degradation is None else str(self.degradation)
        return {"lr_size": self.picture.shape[-1], "estimate": estimate, "degradation": through}

    def match_colour_mode(self, image: Tensor) -> Tensor:
        """A result [3, H, W], grey where the photograph of its face is."""
        return image if self.face is None else match_colour_mode(image, self.face)


def targets_of(
    image: Tensor, faces: Any, lr_size: int, generator: Generator, degradation: Degradation | None
) -> list[Target]:
    """One for each image, or for each face; call it inside `host.gradients()`.

    Args:
        lr_size: pixels a side; 0 takes what each holds.
        degradation: what the searches look through; of faces None is what was measured.

    Raises:
        SettingError: another number of faces than of images.
        ImageError: an image that cannot be shrunk to that size.
    """
    if faces is not None:
        return list(_of_faces(image, faces, lr_size, generator, degradation))
    plain = (plain_target(frame, lr_size, generator.size, degradation) for frame in host.frames(image))
    return [Target(each.picture, each.input_size, degradation, each.estimate) for each in plain]


def _of_faces(
    image: Tensor, faces: Any, lr_size: int, generator: Generator, degradation: Degradation | None
) -> Iterator[Target]:
    known = host.known_faces(faces)
    if known and len(known) != len(image):
        raise SettingError(
            f"There are {len(image)} images and {len(known)} faces.",
            "the aligned faces of PULSE Align Faces as image, together with their faces.",
            "connect both outputs of the same node.",
        )
    for frame, face in zip(host.frames(image), known, strict=False):  # without any face the image is only a stand-in
        size = lr_size or face_target_size(face, generator.size[1])
        through = face_degradation(face, known.sources[face.picture], size, degradation)
        yield Target(resize_to_target(frame, size, generator.size), face.side, through, face.estimate, face)

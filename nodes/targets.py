"""What PULSE Search matches: images, or the faces of photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..pulse_core.errors import SettingError
from ..pulse_core.photographs import face_targets
from ..pulse_core.pipeline import Target, choose_targets
from . import host

if TYPE_CHECKING:
    from ..pulse_core.degradations import Degradation
    from ..pulse_core.generators import Generator


def targets_of(
    image: Tensor, faces: Any, lr_size: int, generator: Generator, degradation: Degradation | None
) -> list[Target]:
    """The target of each image, or of each face; call it inside `host.gradients()`.

    Args:
        lr_size: width in pixels; 0: the effective size of each.
        degradation: of the images; for faces it replaces the estimates.

    Raises:
        SettingError: another number of faces than of images.
        ImageError: an image of another shape, or one that is too small for this size.
    """
    if faces is None:
        return choose_targets(host.Frames(image), generator, lr_size, degradation)
    known = host.known_faces(faces)
    if not known:  # the image only stands in for none
        return []
    if len(known) != len(image):
        raise SettingError(
            f"There are {len(image)} images and {len(known)} faces.",
            "the aligned faces of PULSE Align Faces as image, together with their faces.",
            "connect both outputs of the same node.",
        )
    return list(face_targets(host.Frames(image), known, generator, lr_size, degradation))

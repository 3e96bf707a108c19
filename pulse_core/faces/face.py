"""What is known of the faces in a picture, and where the generator would want them.

Coordinates are continuous: x to the right, y down, and pixel (row i, column j) covers [j, j+1) x [i, i+1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ImageError, SettingError

if TYPE_CHECKING:
    from .estimation import DegradationEstimate

POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")  # as the picture shows them
# The face in its aligned square, an ellipse: its middle and its radii, in shares of the sides.
CENTRE, RADII = (0.5, 0.53), (0.36, 0.47)
_THUMBNAIL = 16
_LIKENESS = 0.7  # correlation of thumbnails; other pictures have less, another exposure of the same one has more


def ffhq_quad(landmarks: Tensor) -> Tensor:
    """Where FFHQ's aligned square of a face lies (Karras et al. 2019, arXiv 1812.04948, appendix A).

    Args:
        landmarks: [5, 2], (x, y) of POINTS; the nose is not looked at.

    Returns: [4, 2], the square's corners: top left, bottom left, bottom right, top right, as the face sees up.

    Raises:
        SettingError: eyes and mouth in one place.
    """
    left, right, _, *mouth = landmarks.double()
    eyes, across, down = (left + right) / 2, right - left, (mouth[0] + mouth[1]) / 2 - (left + right) / 2
    axis = across + torch.stack([down[1], -down[0]])
    length = max(2.0 * float(across.norm()), 1.8 * float(down.norm()))
    if float(axis.norm()) * length == 0 or not bool(axis.isfinite().all()):
        raise SettingError(
            f"The landmarks {landmarks.tolist()} span no face.",
            "five different points: " + ", ".join(POINTS) + ".",
            "give them in this order, in pixels.",
        )
    x = axis / axis.norm() * length
    y = torch.stack([-x[1], x[0]])
    centre = eyes + 0.1 * down
    return torch.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def side_of(quad: Tensor) -> float:
    """The length of a square's side, in pixels."""
    return float((quad[3] - quad[0]).norm())


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    picture: its number in the batch. landmarks: [5, 2], (x, y) of POINTS, pixels. quad: see `ffhq_quad`.
    score: how sure the detector is, 0..1; 1 for a face that the user marked.
    estimate: what its pixels hold (estimation.py); None where that was not measured.
    """

    picture: int
    landmarks: Tensor
    score: float
    estimate: DegradationEstimate | None = None

    @property
    def quad(self) -> Tensor:
        return ffhq_quad(self.landmarks)

    @property
    def side(self) -> float:
        """Pixels of the picture along a side of the aligned square: the size that this face has in it."""
        return side_of(self.quad)


@dataclass(frozen=True)
class Source:
    """What a picture is known by: its size in pixels, and 16x16 grey values."""

    height: int
    width: int
    thumbnail: Tensor

    @classmethod
    def of(cls, picture: Tensor) -> Source:
        """[3, H, W] in 0..1, on any device."""
        grey = F.interpolate(picture.float().mean(0)[None, None], (_THUMBNAIL, _THUMBNAIL), mode="area")
        return cls(picture.shape[-2], picture.shape[-1], grey[0, 0].cpu())

    def check(self, picture: Tensor) -> None:
        """That `picture` [3, H, W] shows the same, recoloured or enlarged at will.

        Raises:
            ImageError: it has another shape or shows something else.
        """
        height, width = picture.shape[-2:]
        other = Source.of(picture).thumbnail
        same_shape = abs(width * self.height - height * self.width) <= max(width, height, self.width, self.height)
        if not same_shape or _correlation(self.thumbnail, other) < _LIKENESS:
            raise ImageError(
                f"The faces were found in another picture ({self.width}x{self.height}) than this one "
                f"({width}x{height}).",
                "the picture that the faces were found in, recoloured or enlarged at will, but not cropped or turned.",
                "connect the same picture to both nodes.",
            )

    def scale_to(self, picture: Tensor) -> Tensor:
        """[2]: how many times as wide and as high `picture` is."""
        height, width = picture.shape[-2:]
        return torch.tensor([width / self.width, height / self.height], dtype=torch.float64)


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's; 1 where both are flat."""
    a, b = a - a.mean(), b - b.mean()
    norms = float(a.norm() * b.norm())
    flat = 1e-3 * a.numel() ** 0.5
    if max(float(a.norm()), float(b.norm())) < flat:
        return 1.0
    return float((a * b).sum()) / norms if norms else 0.0


@dataclass(frozen=True)
class Faces(Sequence[Face]):
    """The faces of a batch of pictures, in the order of the pictures, in each the largest first."""

    faces: tuple[Face, ...]
    sources: tuple[Source, ...]

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> Face:  # type: ignore[override]
        return self.faces[index]

    def of_picture(self, number: int) -> Iterator[tuple[int, Face]]:
        """(its number among all faces, face) of each face in one picture."""
        return ((index, face) for index, face in enumerate(self.faces) if face.picture == number)

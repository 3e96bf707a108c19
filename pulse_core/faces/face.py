"""A face in a picture, and its aligned square.

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

# left and right as seen in the picture
POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
# The ellipse of the face in its aligned square: centre and radii, as fractions of the side.
CENTRE, RADII = (0.5, 0.53), (0.36, 0.47)
_THUMBNAIL = 16
_MIN_CORRELATION = 0.7  # of thumbnails; other pictures have less, other exposures of the same picture more
_MULTIPLES = (8, 16, 32, 64)  # of one of these a VAE crops a picture to a multiple; other nodes crop or pad it
_CLEARLY = 0.9  # the residual of a crop against that of the resized picture; edits change both a little
_EDITED = 0.3  # share of the thumbnail that may have been repainted


def ffhq_quad(landmarks: Tensor) -> Tensor:
    """The square of a face that FFHQ crops (Karras et al. 2019, arXiv 1812.04948, appendix A).

    Args:
        landmarks: [5, 2], (x, y) of POINTS; the nose is not used.

    Returns: [4, 2], corners: top left, bottom left, bottom right, top right, for the upright face.

    Raises:
        SettingError: eyes and mouth coincide.
    """
    left, right, _, *mouth = landmarks.double()
    eyes, across, down = (left + right) / 2, right - left, (mouth[0] + mouth[1]) / 2 - (left + right) / 2
    axis = across + torch.stack([down[1], -down[0]])
    length = max(2.0 * float(across.norm()), 1.8 * float(down.norm()))
    if float(axis.norm()) * length == 0 or not bool(axis.isfinite().all()):
        raise SettingError(
            f"The landmarks {landmarks.tolist()} do not span a face.",
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

    picture: its index in the batch. landmarks: [5, 2], (x, y) of POINTS, pixels. quad: see `ffhq_quad`.
    score: of the detector, 0..1; 1 for a face that the user marked.
    estimate: of its degradation (estimation.py); None if there is none.
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
        """Side of the aligned square, in pixels of the picture."""
        return side_of(self.quad)


@dataclass(frozen=True)
class Source:
    """A fingerprint of a picture: its size in pixels and a grey 16x16 thumbnail."""

    height: int
    width: int
    thumbnail: Tensor

    @classmethod
    def of(cls, picture: Tensor) -> Source:
        """[3, H, W] in 0..1, on any device."""
        grey = F.interpolate(picture.float().mean(0)[None, None], (_THUMBNAIL, _THUMBNAIL), mode="area")
        return cls(picture.shape[-2], picture.shape[-1], grey[0, 0].cpu())

    def check(self, picture: Tensor) -> None:
        """Checks that `picture` [3, H, W] is the same picture, possibly recoloured or resized.

        Raises:
            ImageError: another aspect ratio, another picture, or one that was cropped or padded to a multiple of 8.
        """
        height, width = picture.shape[-2:]
        other = Source.of(picture).thumbnail
        change = self._change_of_frame(picture, other)
        if change is not None:
            raise ImageError(
                f"This picture ({width}x{height}) is a {change} of the one that the faces were found in "
                f"({self.width}x{self.height}): a VAE and other nodes bring pictures to multiples of 8 or more.",
                f"the whole picture, {self.width}x{self.height}, or that many times as large.",
                "crop or resize the picture to such a multiple before the faces are found, or bring this one back to "
                f"{self.width}x{self.height}.",
            )
        same_shape = abs(width * self.height - height * self.width) <= max(width, height, self.width, self.height)
        if not same_shape or _correlation(self.thumbnail, other) < _MIN_CORRELATION:
            raise ImageError(
                f"The faces were found in another picture ({self.width}x{self.height}) than this one "
                f"({width}x{height}).",
                "the picture that the faces were found in, possibly recoloured or resized, but not cropped or rotated.",
                "connect the same picture to both nodes.",
            )

    def _change_of_frame(self, picture: Tensor, thumbnail: Tensor) -> str | None:
        """Whether `picture` has the size of a "crop" or a "padded copy" and is one, and not the resized picture.

        Both shift the thumbnail a little. Correlation sees that in spite of changed colours, the residual in spite of
        repainted parts; where they disagree, the picture counts as resized.
        """
        grey = picture.float().mean(0)[None, None]
        for rows, columns in self._frames(picture.shape[-2], picture.shape[-1]):
            small = F.interpolate(grey, (rows, columns), mode="area")[0]
            middle = ((self.height - rows) // 2, (self.width - columns) // 2)
            for top, left in (middle, (0, 0)):
                whole = _framed(small, top, left, self.height, self.width)
                moved = Source.of(whole).thumbnail
                closer = _correlation(self.thumbnail, moved) > _correlation(self.thumbnail, thumbnail)
                if closer and _residual(self.thumbnail, moved) < _CLEARLY * _residual(self.thumbnail, thumbnail):
                    return "crop" if rows * columns < self.height * self.width else "padded copy"
        return None

    def _frames(self, height: int, width: int) -> list[tuple[int, int]]:
        """(height, width) of the crops and the padded copies of this picture of which this size is a multiple."""
        found = []
        for multiple in _MULTIPLES:
            less = (self.height // multiple * multiple, self.width // multiple * multiple)
            more = (-(-self.height // multiple) * multiple, -(-self.width // multiple) * multiple)
            for rows, columns in (less, more):
                if (rows, columns) == (self.height, self.width) or not rows * columns:
                    continue
                if height % rows == 0 and width % columns == 0 and height // rows == width // columns:
                    found.append((rows, columns))
        return list(dict.fromkeys(found))

    def scale_to(self, picture: Tensor) -> Tensor:
        """[2]: the factors by which `picture` is wider and higher."""
        height, width = picture.shape[-2:]
        return torch.tensor([width / self.width, height / self.height], dtype=torch.float64)


def _framed(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """[C, height, width]: the image moved by (top, left), cut off outside of it; what is missing repeats its edge."""
    bottom, right = height - image.shape[-2] - top, width - image.shape[-1] - left
    rows = slice(max(-top, 0), image.shape[-2] - max(-bottom, 0))
    columns = slice(max(-left, 0), image.shape[-1] - max(-right, 0))
    padding = tuple(max(side, 0) for side in (left, right, top, bottom))
    return F.pad(image[:, rows, columns], padding, mode="replicate")


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation; 1 if both are constant."""
    a, b = a - a.mean(), b - b.mean()
    norms = float(a.norm() * b.norm())
    flat = 1e-3 * a.numel() ** 0.5
    if max(float(a.norm()), float(b.norm())) < flat:
        return 1.0
    return float((a * b).sum()) / norms if norms else 0.0


def _residual(a: Tensor, b: Tensor) -> float:
    """What remains of a after the best gain and offset of b, without the share that differs most."""
    a, b = a.flatten().double(), b.flatten().double()
    kept = torch.ones_like(a, dtype=torch.bool)
    rest = torch.zeros_like(a)
    for _ in range(3):
        mean, other = a[kept].mean(), b[kept].mean()
        spread = float((b[kept] - other).square().sum())
        gain = float(((a[kept] - mean) * (b[kept] - other)).sum()) / spread if spread else 0.0
        rest = (a - mean - gain * (b - other)).abs()
        kept = rest <= rest.quantile(1 - _EDITED)
    return float(rest[kept].mean())


@dataclass(frozen=True)
class Faces(Sequence[Face]):
    """The faces of a batch of pictures, in the order of the pictures, largest first within each."""

    faces: tuple[Face, ...]
    sources: tuple[Source, ...]

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> Face:  # type: ignore[override]
        return self.faces[index]

    def of_picture(self, number: int) -> Iterator[tuple[int, Face]]:
        """(index among all faces, face) of each face in one picture."""
        return ((index, face) for index, face in enumerate(self.faces) if face.picture == number)

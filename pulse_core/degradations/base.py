"""The contract of a degradation: the forward operator from an image to its low-resolution target, y = A(x)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..defaults import own_numbers
from ..errors import ImageError
from ..settings import Option, check_options, options

_OPERATORS = {"forward", "apply", "project", "weight_map", "noise_variance"}


class Degradation(ABC):
    """A forward operator, differentiable, and what it does to a target besides.

    A subclass needs `forward`, and `output_size` if it changes the size. One that is written as text is a frozen
    dataclass whose fields are `option`s.

    Attributes:
        name, help: for text, help and errors.
    """

    name: ClassVar[str] = "degradation"
    help: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        """Its operators compute the same under any defaults of torch, and in autocast."""
        super().__init_subclass__()
        for name in _OPERATORS & vars(cls).keys():
            setattr(cls, name, own_numbers(vars(cls)[name]))

    def __post_init__(self) -> None:
        check_options(self, self.name)

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """Its options, in the order of its text form."""
        return options(cls)

    @classmethod
    def from_options(cls, **values: Any) -> Degradation:
        """Makes one from the values of `options`, by name; a `file` option takes a path."""
        return cls(**values)

    def __str__(self) -> str:
        """The text form, "noise(0.1)"; only the name for values that are not numbers."""
        values = [getattr(self, each.name) for each in self.options()]
        numbers = ", ".join(f"{value:g}" for value in values if isinstance(value, Real))
        return f"{self.name}({numbers})" if numbers else self.name

    @property
    def takes_any_size(self) -> bool:
        """Whether it resizes images of any size to a fixed one, so that a smaller rendering gives the same target."""
        return False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The forward operator A: [B, C, H, W] -> [B, C, h, w], in 0..1.

        Differentiable; independent for each image of the batch; on the device and in the dtype of x.
        """

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of `forward` for an image of (height, width)."""
        return height, width

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Degrades images as `forward`, with real noise and rounding; not necessarily differentiable.

        Args:
            random: a CPU generator, from which float32 numbers are drawn.
        """
        return self.forward(x)

    def project(self, y: Tensor) -> Tensor:
        """Projects a target [B, C, h, w] onto the operator's range, as a grey operator makes the target grey."""
        return y

    def weight_map(self, y: Tensor) -> Tensor | None:
        """The weight of each pixel of the target [B, C, h, w]: [B, 1, h, w] in 0..1; None weighs all alike."""
        return None

    def noise_variance(self, y: Tensor) -> Tensor:
        """[B]: the expected mean squared error of A(true image) against the targets y, colours in 0..1."""
        return y.new_zeros(len(y))


def check_rgb(x: Tensor, name: str) -> None:
    """Raises ImageError for anything but [B, 3, H, W]."""
    if x.ndim != 4 or x.shape[1] != 3:
        raise ImageError(
            f"{name} was given a picture of the shape {list(x.shape)}.", "[B, 3, H, W] (RGB).", "convert it to RGB."
        )

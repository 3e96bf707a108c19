"""The contract of a degradation: what happened to the picture on its way to the low-resolution input."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import ImageError, SettingError


@dataclass(frozen=True)
class Argument:
    """A number (or a file) that a kind of degradation is made with; constructors, texts and help read it.

    low, high: inclusive; None is no limit. kind: float, int (whole numbers) or Path (a picture file).
    default: what a text may leave out; the name of an earlier argument repeats that one; None must be given.
    """

    name: str
    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    default: float | str | None = None
    kind: type = float

    @property
    def range(self) -> str:
        """What is accepted, for errors and help: "0.1 to 100 (pixels)"."""
        if self.kind is Path:
            return "the path of a picture file"
        numbers = "whole numbers " if self.kind is int else ""
        limits = f"from {self.low} up" if self.high is None else f"{self.low} to {self.high}"
        return numbers + limits + (f" ({self.unit})" if self.unit else "")

    def accepts(self, value: Any) -> bool:
        """Whether this is a number of the kind and inside the range, or a path."""
        if self.kind is Path:
            return isinstance(value, Path)
        if not isinstance(value, Real):
            return False
        number = float(value)
        if not math.isfinite(number) or (self.kind is int and not number.is_integer()):
            return False
        return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)

    def check(self, value: Any, owner: str) -> Any:
        """The value as its kind.

        Args:
            value: a number or path, or the text of one.
            owner: the name of the degradation, for the error.

        Raises:
            SettingError: not accepted.
        """
        number = value
        if isinstance(value, str):
            try:
                number = self.kind(value)
            except ValueError:
                number = None
        if not self.accepts(number):
            raise SettingError(f"{self.name} of {owner} is {value}.", f"{self.range}.", f"give another {self.name}.")
        return self.kind(number)


class Degradation(ABC):
    """An operator that the search looks through.

    A degradation of one's own needs `measure`, and `output_size` where that changes the size.
    name, help, arguments: what texts, help and errors say of it.
    """

    name: ClassVar[str] = "degradation"
    help: ClassVar[str] = ""
    arguments: ClassVar[tuple[Argument, ...]] = ()

    @classmethod
    def from_arguments(cls, *values: Any) -> Degradation:
        """Made from the values of `arguments`, in their order."""
        return cls(*values)

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """The value of the argument of this name; raises SettingError where it is not accepted."""
        (argument,) = (argument for argument in cls.arguments if argument.name == name)
        return argument.check(value, cls.name)

    def __str__(self) -> str:
        """As a text has it: "noise(0.1)"; without what is no number."""
        values = [getattr(self, argument.name, None) for argument in self.arguments]
        numbers = ", ".join(f"{value:g}" for value in values if isinstance(value, Real))
        return f"{self.name}({numbers})" if numbers else self.name

    @property
    def takes_any_size(self) -> bool:
        """Whether a smaller version of the image is measured alike: it is first brought to a fixed size."""
        return False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """What the search sees through: [B, C, H, W] -> [B, C, h, w], 0..1.

        Differentiable, each image of the batch alone, on the device and in the type of x.
        """

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of `measure` for an image of (height, width)."""
        return height, width

    def apply(self, x: Tensor, random: torch.Generator) -> Tensor:
        """What really happens, as `measure` but with its noise and rounding; no gradient is promised.

        Args:
            random: a generator of the CPU, from which float32 numbers are drawn.
        """
        return self.forward(x)

    def project(self, y: Tensor) -> Tensor:
        """The low-resolution input [B, C, h, w] as `measure` would show it, so that both compare fairly."""
        return y

    def weight_map(self, y: Tensor) -> Tensor | None:
        """How much each pixel of the input [B, C, h, w] says of the picture: [B, 1, h, w] in 0..1; None is all."""
        return None

    def noise_variance(self, y: Tensor) -> Tensor:
        """[B]: the mean squared error, in (0..1)^2, that the true pictures would have against the inputs y."""
        return y.new_zeros(len(y))


def check_rgb(x: Tensor, name: str) -> None:
    """Raises ImageError for anything but [B, 3, H, W]."""
    if x.ndim != 4 or x.shape[1] != 3:
        raise ImageError(
            f"{name} was given a picture of the shape {list(x.shape)}.", "[B, 3, H, W] (RGB).", "convert it to RGB."
        )

"""A checkpoint's tensors and settings, taken one by one with checks of shape and range."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.stored import Stored
from ..errors import CheckpointError

# Limits of what a small malicious file can make this pack allocate
MAX_SIDE = 4096  # pixels of an image
MAX_COLOURS = 4  # channels of an image
MAX_TAPS = 128  # per side of a resampling filter; published ones have 4 to 24
MAX_WIDTH = 8192  # of a layer of a mapping network; published ones have 512 or 1024
MAX_CLASSES = 1 << 15  # ImageNet-21k has 22,000
MAX_BYTES = 8 << 30  # of all weights; published generators have up to 1 GB
_MAX_PEEK = 1 << 16  # numbers


class TensorBag:
    """Returns checked tensors by name, in one precision, and keeps track of those not taken yet.

    Run-time factors are folded into the weights in this precision: float64 for a float64 generator, else float32.

    Attributes:
        assumed: settings that the checkpoint does not say, and the defaults that they got.
    """

    def __init__(
        self,
        tensors: Stored,
        family: str,
        dtype: torch.dtype = torch.float32,
        settings: Mapping[str, Any] | None = None,
    ):
        self._remaining = dict(tensors)
        self._settings = dict(settings or {})
        self._family = family
        self._dtype = torch.float64 if dtype == torch.float64 else torch.float32
        self.assumed: dict[str, Any] = {}
        self._check_bytes()

    def __contains__(self, name: str) -> bool:
        return name in self._remaining

    def names(self) -> list[str]:
        """The names of the tensors not taken yet."""
        return list(self._remaining)

    def dims(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, unchecked; () if it is missing."""
        return self._remaining[name].shape if name in self._remaining else ()

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor `name`. A -1 in `shape` accepts any length.

        Raises:
            CheckpointError: missing, of another shape, not floating-point, or not finite.
        """
        found = self.shape(name, len(shape))
        if any(n not in (-1, m) for n, m in zip(shape, found, strict=True)):
            raise self._wrong_shape(name, found, str(["any" if n == -1 else n for n in shape]))
        stored = self._remaining.pop(name)
        if not stored.dtype.is_floating_point:
            raise self._not_finite(name, stored.dtype)
        # contiguous: results must not depend on the memory layout in the file
        tensor = stored.read().to(self._dtype).contiguous()
        if not all(bool(end.isfinite()) for end in torch.aminmax(tensor)):
            raise self._not_finite(name, stored.dtype)
        return tensor

    def take_filter(self, name: str, *shape: int) -> Tensor:
        """A resampling filter of the shape, which has at most MAX_TAPS numbers a side."""
        sides = self.dims(name)
        if max(sides, default=0) > MAX_TAPS:
            raise self._wrong_shape(name, sides, f"at most {MAX_TAPS} a side")
        return self.take(name, *shape)

    def peek(self, name: str) -> Tensor | None:
        """A small tensor as float64, which stays in the bag; None if it is missing, large or not of floats."""
        stored = self._remaining.get(name)
        is_small = stored is not None and stored.dtype.is_floating_point and 0 < stored.numel <= _MAX_PEEK
        return stored.read().double() if is_small and stored is not None else None

    def take_optional(self, name: str, *shape: int) -> Tensor | None:
        """The tensor, or None if it is missing."""
        return self.take(name, *shape) if name in self else None

    def shape(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a tensor, without taking it; raises CheckpointError as `take` does."""
        if name not in self._remaining:
            raise CheckpointError(
                f"The {self._family} checkpoint has no tensor {name!r}.",
                "a complete generator of this family.",
                "download the file again, or check that it is a complete generator.",
            )
        found = self._remaining[name].shape
        if len(found) != dims or 0 in found:
            raise self._wrong_shape(name, found, f"{dims} dimensions, none of them empty,")
        return found

    def check_side(self, side: int) -> int:
        """Returns a side of an image in pixels; raises CheckpointError if it is not in 1..MAX_SIDE."""
        if not 1 <= side <= MAX_SIDE:
            raise CheckpointError(
                f"The checkpoint is for images with a side of {side} pixels.",
                f"1 to {MAX_SIDE}.",
                "check that the file is a generator; if it is, this pack cannot hold its images.",
            )
        return side

    def check_colours(self, name: str) -> int:
        """The image channels that convolution `name` makes; raises CheckpointError if there are too many."""
        found = self.shape(name, 4)
        if found[0] > MAX_COLOURS:
            raise self._wrong_shape(name, found, f"at most {MAX_COLOURS} channels of an image")
        return found[0]

    def _check_bytes(self) -> None:
        needed = sum(tensor.numel for tensor in self._remaining.values()) * self._dtype.itemsize
        if needed > MAX_BYTES:
            raise CheckpointError(
                f"The weights of the checkpoint would take {needed:,} bytes of memory.",
                f"at most {MAX_BYTES:,} in a {self._family} generator.",
                "check that the file is what its name says.",
            )

    def says(self, name: str) -> bool:
        """Whether the checkpoint has the setting `name`."""
        return name in self._settings

    def number(self, name: str, default: float, low: float, high: float, *, is_assumed: bool = True) -> float:
        """Takes the setting `name`, which must be in low..high; its default if it is missing.

        Args:
            is_assumed: whether a missing setting is noted in `assumed`; False where the default was deduced.

        Raises:
            CheckpointError: of another type or range.
        """
        if name not in self._settings:
            if is_assumed:
                self.assumed[name] = default
            return default
        value = self._settings.pop(name)
        usable = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not usable or not low <= value <= high:
            shown = ascii(value)[:40] if isinstance(value, (int, float, str)) else f"of type {type(value).__name__}"
            raise CheckpointError(
                f"The setting {name!r} of the checkpoint is {shown}.",
                f"a number from {low:g} to {high:g} in a {self._family} generator.",
                "convert the original checkpoint again.",
            )
        return float(value)

    def clamp(self, default: float | None) -> float | None:
        """Takes the setting conv_clamp, a symmetric clamp of the layers' outputs; None means no clamp."""
        if "conv_clamp" not in self._settings:
            self.assumed["conv_clamp"] = default
            return default
        if self._settings["conv_clamp"] is None:
            del self._settings["conv_clamp"]
            return None
        return self.number("conv_clamp", 0.0, 1e-3, 1e9)

    def _not_finite(self, name: str, kind: torch.dtype) -> CheckpointError:
        return CheckpointError(
            f"Tensor {name!r} holds values that are not finite real numbers (type {kind}).",
            "finite floating-point weights.",
            "download the file again; a training run that diverged cannot be used.",
        )

    def _wrong_shape(self, name: str, found: tuple[int, ...], wanted: str) -> CheckpointError:
        return CheckpointError(
            f"Tensor {name!r} has shape {list(found)}.",
            f"{wanted} in a {self._family} generator.",
            "check that the file is what its name says; a variant with other layers is not supported.",
        )

    def finish(self) -> None:
        """Raises CheckpointError if tensors or settings are left that this family does not have."""
        for kind, left in (("tensors", self._remaining), ("settings", self._settings)):
            if left:
                first = ascii(sorted(map(str, left))[0])[:80]
                raise CheckpointError(
                    f"The checkpoint holds {len(left)} {kind} that a {self._family} generator does not have, "
                    f"such as {first}.",
                    f"exactly the {kind} of one generator.",
                    "check which model the file is for.",
                )


def content_hash(tensors: Stored, settings: Mapping[str, Any] | None = None) -> str:
    """SHA-256 over names, types, shapes and bytes, independent of the file format."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].read().detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode("utf-8", "backslashreplace"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    if settings:
        digest.update(json.dumps(dict(settings), sort_keys=True).encode())
    return digest.hexdigest()

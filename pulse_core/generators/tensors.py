"""A checkpoint's tensors, taken one by one with their shapes asserted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import CheckpointError


class TensorBag:
    """Hands out named tensors in one precision, checks each, and knows what was never asked for.

    Run-time factors are folded into weights in this precision: float64 for a float64 generator, else float32.
    """

    def __init__(self, tensors: Mapping[str, Tensor], family: str, dtype: torch.dtype = torch.float32):
        self._left = dict(tensors)
        self._family = family
        self._dtype = torch.float64 if dtype == torch.float64 else torch.float32

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor `name`. A -1 in `shape` accepts any length.

        Raises:
            CheckpointError: missing, of another shape, not of a real floating type, or not finite.
        """
        found = self.shape(name, len(shape))
        tensor = self._left.pop(name)
        if any(n not in (-1, m) for n, m in zip(shape, found, strict=True)):
            raise self._wrong_shape(name, found, str(["any" if n == -1 else n for n in shape]))
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"Tensor {name!r} holds values that are not finite real numbers (type {tensor.dtype}).",
                "finite floating-point weights.",
                "download the file again; a training run that diverged cannot be used.",
            )
        # a copy in memory of its own: results must not depend on how the file's bytes happen to be aligned
        return tensor.to(self._dtype, copy=True)

    def shape(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a tensor that stays in the bag; raises CheckpointError as `take` does."""
        if name not in self._left:
            raise CheckpointError(
                f"The {self._family} checkpoint has no tensor {name!r}.",
                "a complete generator of this family.",
                "download the file again, or check that it is a whole generator and not a part of one.",
            )
        found = tuple(self._left[name].shape)
        if len(found) != dims or 0 in found:
            raise self._wrong_shape(name, found, f"{dims} dimensions, none of them empty,")
        return found

    def _wrong_shape(self, name: str, found: tuple[int, ...], wanted: str) -> CheckpointError:
        return CheckpointError(
            f"Tensor {name!r} has shape {list(found)}.",
            f"{wanted} in a {self._family} generator.",
            "check that the file is what its name says; a variant with other layers is not supported.",
        )

    def finish(self) -> None:
        """Raises CheckpointError if the file holds tensors that this family does not know."""
        if self._left:
            names = sorted(self._left)
            raise CheckpointError(
                f"The checkpoint holds {len(names)} tensors that a {self._family} generator does not have, "
                f"such as {names[0]!r}.",
                "exactly the tensors of one generator.",
                "check which model the file is for.",
            )


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes: the same for the same weights in any file format."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

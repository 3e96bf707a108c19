"""What layouts share: giving tensors and settings other names, each its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...checkpoints.stored import Stored, StoredTensor, in_memory
from ...errors import CheckpointError

MAX_TAPS = 32  # of a resampling filter; published ones have 4

# What is done to a tensor's numbers on the way; None: nothing.
Change = Callable[[Tensor], Tensor] | None


def rename(tensors: Stored, rule: Callable[[str], tuple[str, Change] | None]) -> dict[str, StoredTensor]:
    """Each tensor under its new name, changed when it is read.

    Args:
        rule: name -> new name and change; None leaves the tensor out.

    Raises:
        CheckpointError: two tensors would have one name, or a change needs another shape.
    """
    renamed: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        found = rule(name)
        if found is None:
            continue
        new, change = found
        if new in renamed:
            raise CheckpointError(
                f"The file holds {new[:80]!a} twice, once as {name[:80]!a}.",
                "each part of a network once.",
                "download the file again, or check which program wrote it.",
            )
        renamed[new] = tensor.then(change) if change is not None else tensor
    return renamed


def one_filter(filters: Mapping[str, StoredTensor], gain: float = 1.0) -> StoredTensor:
    """The resampling filter of which several layers have a copy, divided by `gain`.

    Raises:
        CheckpointError: a copy is too large or not 2-D, or they differ.
    """
    values = {}
    for name, stored in filters.items():
        if len(stored.shape) != 2 or not all(1 <= side <= MAX_TAPS for side in stored.shape):
            raise CheckpointError(
                f"The resampling filter {name[:80]!a} has the shape {list(stored.shape)}.",
                f"2 dimensions of 1 to {MAX_TAPS} numbers.",
                "check that the file is what its name says.",
            )
        values[name] = stored.read()
    first, value = next(iter(values.items()))
    for name, other in values.items():
        if other.shape != value.shape or not torch.equal(other, value):
            raise CheckpointError(
                f"The resampling filters {first[:80]!a} and {name[:80]!a} differ.",
                "one filter for all layers of a kind.",
                "this variant of the network is not supported.",
            )
    return in_memory(value / gain if gain != 1 else value)


def check_lod(tensors: Stored, *names: str) -> None:
    """Raises CheckpointError if a level of detail is not 0: a network that is not fully grown."""
    for name in names:
        if name in tensors and tensors[name].numel == 1 and float(tensors[name].read()) != 0:
            raise refused_setting(name, float(tensors[name].read()), "0, that of a network that is fully grown")


def refused_setting(name: str, value: Any, accepted: str) -> CheckpointError:
    """The error for a setting that changes the images and is not supported."""
    shown = ascii(value)[:60] if isinstance(value, (int, float, str, tuple, type(None))) else type(value).__name__
    return CheckpointError(
        f"The network's setting {name[:80]!a} is {shown}.",
        f"{accepted}.",
        "this variant of the network is not supported.",
    )

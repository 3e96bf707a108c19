"""What layouts share: giving tensors and settings other names, each its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ...errors import CheckpointError
from ..stored import Stored, StoredTensor

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


def settings_from(metadata: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Settings of this pack out of a program's metadata; names: ours -> theirs, of which a file may lack some."""
    return {ours: metadata[theirs] for ours, theirs in names.items() if theirs in metadata}

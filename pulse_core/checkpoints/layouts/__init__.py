"""The names that other programs give to a generator's tensors -> this pack's names and settings.

A layout says who wrote the file; what kind of network it is, is then said by the family
(generators/). To add a layout: one file with `recognises(names, metadata)` and `translate(tensors, metadata)`,
and one entry in LAYOUTS.
"""

from __future__ import annotations

from typing import Any

from ..stored import Stored
from . import nvlabs, own, pulse, rosinality, tensorflow

LAYOUTS = (own, pulse, rosinality, tensorflow, nvlabs)


def translate(tensors: Stored, metadata: dict[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """Tensors under this pack's names, and the settings of the network that no tensor shows.

    Names of an unknown layout stay as they are; the families will say that they do not know them.

    Raises:
        CheckpointError: a variant of a known layout that is not supported.
    """
    for layout in LAYOUTS:
        if layout.recognises(tensors.keys(), metadata):
            return layout.translate(tensors, metadata)
    return tensors, {}

"""The names that other programs give to a generator's tensors -> this pack's names and settings.

A layout knows the names of one program. The translated names decide the family (generators/). To add a layout: one
file with BESIDE, `prefixes` and `translate` (see places.Layout), and one entry in LAYOUTS. The first layout that finds
a generator under a prefix translates it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...checkpoints.stored import Stored
from ...checkpoints.tree import below
from . import (
    genforce,
    huangzh13,
    mmgeneration,
    mobile,
    nvlabs,
    other_networks,
    own,
    pulse,
    rosinality,
    style_based,
    tensorflow,
)
from .places import Layout, beside, find

LAYOUTS: tuple[Layout, ...] = (
    own,
    other_networks,
    mobile,
    genforce,
    huangzh13,
    style_based,
    mmgeneration,
    pulse,
    rosinality,
    tensorflow,
    nvlabs,
)


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """The generator among tensors: under this pack's names, and the settings that no tensor shows.

    Without a generator, the tensors are returned unchanged, for the families to refuse.

    Raises:
        CheckpointError: several generators, or a variant of a known layout that is not supported.
    """
    place = find(LAYOUTS, tensors, metadata)
    if place is None:
        return tensors, {}
    inside = {name[len(place.prefix) :]: t for name, t in tensors.items() if name.startswith(place.prefix)}
    around = beside(tensors.keys(), place.prefix, place.layout.BESIDE)
    inside = {**{name: tensors[full] for name, full in around.items()}, **inside}
    return place.layout.translate(inside, below(metadata, place.prefix))

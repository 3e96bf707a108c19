"""The generator families, detected by names and shapes of tensors.

To add a family: one file that defines a `Generator` with `recognises` and `from_tensors`, and one
entry in FAMILIES.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import CheckpointError
from .base import Generator as Generator
from .mobilestylegan import MobileStyleGAN
from .stylegan1 import StyleGAN1

FAMILIES = (MobileStyleGAN, StyleGAN1)


def build_generator(tensors: Mapping[str, Tensor], *, name: str, dtype: torch.dtype = torch.float32) -> Generator:
    """The generator that these tensors are.

    Raises:
        CheckpointError: no family knows them, or they are an incomplete or a wrong one of their family.
    """
    for family in FAMILIES:
        if family.recognises(tensors):
            return family.from_tensors(tensors, name=name, dtype=dtype)
    first = ", ".join(sorted(tensors)[:3]) or "none at all"
    raise CheckpointError(
        f"The tensors of {name!r} belong to no generator family that this pack knows (the first names: {first}).",
        "a generator of one of the families " + ", ".join(family.family for family in FAMILIES) + ".",
        "check that the file is a StyleGAN generator, and not a discriminator, an encoder or another model.",
    )

"""The generator families, detected by the names and shapes of their tensors.

To add a family, write a file with a subclass of `Generator` that defines `recognises` and `build`, and list it in
FAMILIES. Other programs' names for the same tensors belong to loading/layouts/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.stored import Stored, stored
from ..errors import CheckpointError
from .base import Generator as Generator
from .mobilestylegan import MobileStyleGAN
from .stylegan1 import StyleGAN1
from .stylegan2 import StyleGAN2
from .stylegan3 import StyleGAN3
from .tensors import TensorBag, content_hash

FAMILIES: tuple[type[Generator], ...] = (MobileStyleGAN, StyleGAN1, StyleGAN2, StyleGAN3)


def build_generator(
    tensors: Stored | Mapping[str, Tensor],
    settings: Mapping[str, Any] | None = None,
    *,
    name: str,
    dtype: torch.dtype = torch.float32,
) -> Generator:
    """Builds the generator that a checkpoint holds; all sizes follow from the shapes of its tensors.

    Args:
        tensors: by this pack's names (see loading/layouts/).
        settings: of the network, where they do not follow from the tensors; see the family.

    Raises:
        CheckpointError: no family recognises them, or a tensor is missing, unknown, or of a wrong shape.
    """
    weights = stored(tensors)
    for family in FAMILIES:
        if family.recognises(weights):
            bag = TensorBag(weights, family.family, dtype, settings)
            mapping, synthesis = family.build(bag)
            bag.finish()
            digest = content_hash(weights, settings)
            generator = family(mapping, synthesis, name=name, content_hash=digest).to(dtype)
            generator.assumed = bag.assumed
            return generator
    first = ", ".join(ascii(name)[1:60].rstrip("'") for name in sorted(tensors)[:3]) or "none at all"
    raise CheckpointError(
        f"The tensors of {name!r} belong to no generator family that this pack knows (the first names: {first}).",
        "a generator of one of the families " + ", ".join(family.family for family in FAMILIES) + ".",
        "check that the file is a StyleGAN generator, and not a discriminator, an encoder or another model.",
    )

"""Networks that resemble a StyleGAN but are not supported: each is refused by name.

To add one: a line in OTHERS.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...checkpoints.stored import Stored
from ...errors import CheckpointError
from .places import marked

BESIDE = ()
# (names that identify it, what it is, what to do)
OTHERS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("input.input", "to_rgbs.0.iwt.ll"),
        "SWAGAN, which draws the bands of a wavelet transform and not an image",
        "choose a StyleGAN2 of the same images.",
    ),
    (
        ("stylegan_decoder.constant_input.weight", "final_linear.weight"),
        "GFPGAN, whose decoder needs the features of its own encoder",
        "restore faces with a node for GFPGAN; for PULSE choose a StyleGAN2 of faces.",
    ),
    (
        ("stylegan_decoderdotconstant_inputdotweight",),
        "GFPGAN, whose decoder needs the features of its own encoder",
        "restore faces with a node for GFPGAN; for PULSE choose a StyleGAN2 of faces.",
    ),
    (
        ("G.blocks.0.to_style1.weight", "S.net.0.weight"),
        "lucidrains' stylegan2_pytorch, whose layers are not StyleGAN2's: it enlarges bilinearly, has other noise and "
        "no equalised learning rate",
        "choose a file of NVlabs', rosinality's or MMGeneration's StyleGAN2.",
    ),
    (
        ("backbone.synthesis.b4.const", "decoder.net.0.weight"),
        "EG3D, which renders images from planes of features",
        "choose a StyleGAN of the same images.",
    ),
)


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the names that identify each of them."""
    return marked(names, *(marks for marks, _, _ in OTHERS))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """Raises the CheckpointError that says what it is."""
    for marks, what, remedy in OTHERS:
        if all(mark in tensors for mark in marks):
            raise CheckpointError(
                f"The file holds {what}.", "a StyleGAN, StyleGAN2, StyleGAN3 or MobileStyleGAN.", remedy
            )
    return tensors, {}

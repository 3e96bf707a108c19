"""PULSEDegradation and PULSEDegrade."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.degradations import DEGRADATIONS, Chain, Degradation
from ..pulse_core.degradations.mask import Mask
from ..pulse_core.errors import SettingError
from . import host, offers, sockets

_KINDS: dict[str, type[Degradation]] = {kind.name: kind for kind in DEGRADATIONS}
_NO_AMOUNT = 0.0


def _describe() -> str:
    """What amount means for each kind."""
    first = {kind.name: kind.options()[0] for kind in DEGRADATIONS if kind is not Mask and kind.options()}
    return "; ".join(f"{name}: {each.name}, {each.range}" for name, each in first.items())


class PULSEDegradationNode(io.ComfyNode):
    """A kind and an amount -> DEGRADATION."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEDegradation",
            display_name="PULSE Degradation",
            category=sockets.CATEGORY,
            search_aliases=["blur", "noise", "jpeg", "restore"],
            description="What happened to a picture besides downscaling: blur, noise, JPEG, hidden parts, lost "
            "colours. It joins the forward operator of PULSE Search, so that the invented face is free of it. Chain "
            "several in the order in which they happened. Its pixels are those of the low-resolution image.",
            inputs=[
                io.Combo.Input(
                    "kind",
                    options=list(_KINDS),
                    default="noise",
                    tooltip="; ".join(f"{kind.name}: {kind.help}" for kind in DEGRADATIONS) + ".",
                ),
                io.Float.Input(
                    "amount",
                    default=_NO_AMOUNT,
                    min=0.0,
                    max=16384.0,
                    step=0.01,
                    round=0.0001,
                    tooltip=f"0: the default of the kind. {_describe()}.",
                ),
                io.Float.Input(
                    "angle",
                    default=0.0,
                    min=-360.0,
                    max=360.0,
                    step=1.0,
                    tooltip="Angle of motion blur, counter-clockwise from the horizontal. Unit: degrees.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="For kind mask: white where the low-resolution image is hidden."
                ),
                sockets.Degradation.Input(
                    "before", optional=True, tooltip="The degradation that happened before this one."
                ),
            ],
            outputs=[
                sockets.Degradation.Output(
                    "degradation",
                    display_name="degradation",
                    tooltip="For PULSE Search, PULSE Degrade, or before of the next PULSE Degradation.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, kind: str, amount: float, angle: float, mask: Tensor | None = None, before: Degradation | None = None
    ) -> io.NodeOutput:
        with host.gradients():
            made = _made(_KINDS[kind], amount, angle, mask)
        return io.NodeOutput(made if before is None else Chain([before, made]))


class PULSEDegradeNode(io.ComfyNode):
    """IMAGE -> degraded IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEDegrade",
            display_name="PULSE Degrade",
            category=sockets.CATEGORY,
            search_aliases=["blur", "noise", "jpeg", "pixelate"],
            description="Applies a degradation to images, with random noise and JPEG rounding: to make test inputs, "
            "or to check a result against its input.",
            inputs=[
                io.Image.Input("image", tooltip="The images to degrade."),
                sockets.Degradation.Input("degradation", tooltip="From PULSE Degradation."),
                sockets.seed("Seed of the noise.", changes=False),
            ],
            outputs=[io.Image.Output("degraded", display_name="image", tooltip="The degraded images.")],
        )

    @classmethod
    def execute(cls, image: Tensor, degradation: Degradation, seed: int) -> io.NodeOutput:
        random = torch.Generator().manual_seed(seed)
        with host.gradients():
            made = (degradation.apply(frame[None], random)[0] for frame in host.Frames(image))
            return io.NodeOutput(host.give_images(made, len(image), image))


def _made(kind: type[Degradation], amount: float, angle: float, mask: Tensor | None) -> Degradation:
    """One of this kind; 0 is its usual amount."""
    if kind is Mask:
        if mask is None:
            raise SettingError("Kind is mask, and no mask is connected.", "a MASK.", "connect one, white where hidden.")
        if len(mask) > 1 and mask.ndim > 2:
            raise SettingError(
                f"There are {len(mask)} masks.", "one mask, which serves all images.", "choose one of them first."
            )
        return Mask(1 - host.full(mask.reshape(-1, *mask.shape[-2:])[0]))
    values: dict[str, Any] = {}
    for each in kind.options():
        if not values:  # the first one is the amount
            if amount == _NO_AMOUNT and each.is_required:
                raise SettingError(f"The amount of {kind.name} is 0.", f"{each.name}: {each.range}.", "give one.")
            values[each.name] = each.default if amount == _NO_AMOUNT else amount
        else:  # the angle of a line, the height of a square
            values[each.name] = values[each.same_as] if each.same_as else angle
    return kind.from_options(**values)

"""PULSEDegradation and PULSEDegrade."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.degradations import DEGRADATIONS, Chain, Degradation
from ..pulse_core.degradations.mask import Mask
from ..pulse_core.errors import SettingError
from . import host, sockets

_KINDS: dict[str, type[Degradation]] = {kind.name: kind for kind in DEGRADATIONS}
_NO_AMOUNT = 0.0


def _describe() -> str:
    """What amount means for each kind."""
    first = {kind.name: kind.arguments[0] for kind in DEGRADATIONS if kind is not Mask and kind.arguments}
    return "; ".join(f"{name}: {argument.name}, {argument.range}" for name, argument in first.items())


class PULSEDegradationNode(io.ComfyNode):
    """-> DEGRADATION, one that happened after another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PULSEDegradation",
            display_name="PULSE Degradation",
            category=sockets.CATEGORY,
            description="What happened to a picture besides shrinking: blur, noise, JPEG, hidden parts, lost colours. "
            "It joins the forward operator of PULSE Search, so that the invented face is clean. Connect several in a "
            "row, in the order in which they happened; pixels are those of the tiny image.",
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
                    tooltip=f"How much; 0 takes the kind's usual amount. {_describe()}.",
                ),
                io.Float.Input(
                    "angle",
                    default=0.0,
                    min=-360.0,
                    max=360.0,
                    step=1.0,
                    tooltip="Of motion blur, in degrees, counter-clockwise from the horizontal.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="For kind mask: what is hidden (white) in the tiny image."
                ),
                sockets.Degradation.Input("before", optional=True, tooltip="What happened before this."),
            ],
            outputs=[
                sockets.Degradation.Output(
                    "degradation",
                    display_name="degradation",
                    tooltip="For PULSE Search, PULSE Degrade, or the next one.",
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
    """IMAGE -> IMAGE, as the degradation would really make it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PULSEDegrade",
            display_name="PULSE Degrade",
            category=sockets.CATEGORY,
            description="Does to images what the degradation says, with real noise and real JPEG: to make test inputs, "
            "or to check a result against its input.",
            inputs=[
                io.Image.Input("image", tooltip="Any number of images."),
                sockets.Degradation.Input("degradation", tooltip="From PULSE Degradation."),
                sockets.seed("Of the noise.", changes=False),
            ],
            outputs=[io.Image.Output("degraded", display_name="image", tooltip="The degraded images.")],
        )

    @classmethod
    def execute(cls, image: Tensor, degradation: Degradation, seed: int) -> io.NodeOutput:
        random = torch.Generator().manual_seed(seed)
        with host.gradients():
            made = [degradation.apply(frame[None], random)[0] for frame in host.frames(image)]
        return io.NodeOutput(host.give_images(made))


def _made(kind: type[Degradation], amount: float, angle: float, mask: Tensor | None) -> Degradation:
    """One of this kind; 0 is its usual amount."""
    if kind is Mask:
        if mask is None:
            raise SettingError("Kind is mask, and no mask is connected.", "a MASK.", "connect one, white where hidden.")
        return Mask(1 - host.plain(mask)[0])
    values: list[Any] = [amount if amount != _NO_AMOUNT else argument.default for argument in kind.arguments[:1]]
    if values and values[0] is None:
        raise SettingError(
            f"The amount of {kind.name} is 0.", f"{kind.arguments[0].name}: {kind.arguments[0].range}.", "give one."
        )
    if len(kind.arguments) == 2:  # of a line its angle, of a size the same height
        values.append(angle if kind.arguments[1].name == "angle" else values[0])
    return kind.from_arguments(*values)

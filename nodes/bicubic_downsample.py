"""BicubicDownsample."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.degradations.bicubic import downsample
from . import host, offers, sockets

_MODES = ("factor", "size")


class BicubicDownsampleNode(io.ComfyNode):
    """IMAGE -> downscaled IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="BicubicDownsample",
            display_name="Bicubic Downsample",
            category=sockets.CATEGORY,
            search_aliases=["downscale", "resize", "pixelate", "shrink"],
            description="Antialiased bicubic downscaling, the forward operator of PULSE Search: to make a "
            "low-resolution target, or to check that a result downscales to its input.",
            inputs=[
                io.Image.Input("image", tooltip="Images of any size."),
                io.Combo.Input(
                    "mode", options=list(_MODES), default="factor", tooltip="Downscale by a factor, or to a size."
                ),
                io.Int.Input(
                    "factor",
                    default=32,
                    min=1,
                    max=1024,
                    tooltip="For mode factor: 32 downscales 1024 pixels to 32. A remainder is cropped.",
                ),
                io.Int.Input(
                    "width", default=32, min=1, max=16384, tooltip="For mode size: pixels, at most those of the image."
                ),
                io.Int.Input(
                    "height", default=32, min=1, max=16384, tooltip="For mode size: pixels, at most those of the image."
                ),
            ],
            outputs=[io.Image.Output("downscaled", display_name="image", tooltip="The downscaled images.")],
        )

    @classmethod
    def execute(cls, image: Tensor, mode: str, factor: int, width: int, height: int) -> io.NodeOutput:
        target: dict[str, Any] = {"factor": factor} if mode == "factor" else {"size": (height, width)}
        host.check_image(image)
        with host.gradients():
            small = (downsample(host.take_image(frame[None])[0], **target) for frame in image)
            return io.NodeOutput(host.give_images(small, len(image), image))

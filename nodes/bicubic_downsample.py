"""BicubicDownsample."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.degradations.bicubic import downsample
from . import host, sockets

_MODES = ("factor", "size")


class BicubicDownsampleNode(io.ComfyNode):
    """IMAGE -> IMAGE, downscaled as the search does it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="BicubicDownsample",
            display_name="Bicubic Downsample",
            category=sockets.CATEGORY,
            description="Antialiased bicubic downscaling, the forward operator of PULSE Search: shrink an image to a "
            "target, or check that a result scales back down to its input.",
            inputs=[
                io.Image.Input("image", tooltip="Any size, any number of images."),
                io.Combo.Input(
                    "mode", options=list(_MODES), default="factor", tooltip="Shrink by a factor or to a size."
                ),
                io.Int.Input(
                    "factor",
                    default=32,
                    min=1,
                    max=1024,
                    tooltip="For mode factor: 32 makes 1024 pixels 32. What does not divide evenly is cut off.",
                ),
                io.Int.Input(
                    "width", default=32, min=1, max=16384, tooltip="For mode size: pixels, at most the image's."
                ),
                io.Int.Input(
                    "height", default=32, min=1, max=16384, tooltip="For mode size: pixels, at most the image's."
                ),
            ],
            outputs=[io.Image.Output("downscaled", display_name="image", tooltip="The small image.")],
        )

    @classmethod
    def execute(cls, image: Tensor, mode: str, factor: int, width: int, height: int) -> io.NodeOutput:
        pixels = host.take_image(image)
        small = downsample(pixels, factor=factor) if mode == "factor" else downsample(pixels, size=(height, width))
        return io.NodeOutput(host.give_images(small))

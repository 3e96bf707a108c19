"""PULSEContactSheet, PULSEUncertainty and PULSECompare: they show that solutions are not unique."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.degradations import forward_operator
from ..pulse_core.errors import SettingError
from ..pulse_core.pictures.images import NOTICE, from_pil
from ..pulse_core.pictures.sheets import comparison, contact_sheet
from ..pulse_core.pictures.spread import heat_map, spread
from . import host, offers, reports, sockets
from .choices import caption_lines
from .slider import Slider

if TYPE_CHECKING:
    from ..pulse_core.degradations import Degradation

_ACCEPTED = ("found", "all")


class PULSEContactSheetNode(io.ComfyNode):
    """IMAGEs -> one IMAGE that shows all of them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEContactSheet",
            display_name="PULSE Contact Sheet",
            category=sockets.CATEGORY,
            search_aliases=["grid", "montage", "captions"],
            description="Arranges all images of a batch on one sheet, with captions. " + NOTICE,
            inputs=[
                io.Image.Input("image", tooltip="Any number of images."),
                io.Int.Input(
                    "columns",
                    default=0,
                    min=0,
                    max=64,
                    tooltip="Images per row; 0: about as many as there are rows.",
                ),
                io.Int.Input(
                    "side", default=256, min=32, max=1024, step=32, tooltip="Side of each image on the sheet in pixels."
                ),
                io.String.Input(
                    "captions",
                    default="",
                    multiline=True,
                    tooltip="One line for each image, in any script that a font of this machine has. Empty: rank, "
                    "residual and seed from the report; without a report, numbers.",
                ),
                sockets.report("From PULSE Search, for the captions."),
            ],
            outputs=[io.Image.Output("sheet", display_name="sheet", tooltip="One image.")],
        )

    @classmethod
    def execute(cls, image: Tensor, columns: int, side: int, captions: str, report: str = "") -> io.NodeOutput:
        lines = caption_lines(captions, len(image)) or reports.captions(report, len(image))
        with host.gradients():
            sheet = contact_sheet(host.Frames(image), lines, columns, side)
            return io.NodeOutput(host.give_images([from_pil(sheet)]))


class PULSEUncertaintyNode(io.ComfyNode):
    """Several solutions -> heat map and MASK of where they differ."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEUncertainty",
            display_name="PULSE Uncertainty",
            category=sockets.CATEGORY,
            search_aliases=["variance", "heat map"],
            description="Shows how much the solutions for one input differ at each pixel. Where the map is light, the "
            "input does not determine the picture, and it is invented. Where it is dark, the solutions agree, which "
            "does not prove them right. " + NOTICE,
            inputs=[
                io.Image.Input("image", tooltip="Results of PULSE Search with solutions at 4 or more."),
                io.Combo.Input(
                    "accept",
                    options=list(_ACCEPTED),
                    default="found",
                    tooltip="With a report: found uses only solutions that were found within eps; all uses every "
                    "solution.",
                ),
                io.Float.Input(
                    "full_scale",
                    default=0.15,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="The standard deviation that is white in the heat map and 1 in the mask. Unit: colours in "
                    "0..1.",
                ),
                io.Float.Input(
                    "picture",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Opacity of the first solution, in grey, over the heat map.",
                ),
                sockets.report(
                    "From PULSE Search: the input and convergence of each solution. Without it all are of one input."
                ),
            ],
            outputs=[
                io.Image.Output(
                    "heat_map", display_name="heat map", tooltip="One for each input; light parts are invented."
                ),
                io.Mask.Output("mask", display_name="mask", tooltip="The same as a mask; 1 is full_scale or more."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, image: Tensor, accept: str, full_scale: float, picture: float, report: str = "") -> io.NodeOutput:
        maps, masks, lines = [], [], []
        with host.gradients():
            frames = host.Frames(image)
            for number, rows in enumerate(reports.groups(report, len(frames), found_only=accept == "found"), 1):
                spreads = spread([frames[row] for row in rows])
                shares = (spreads / full_scale).clamp(0, 1)
                maps.append(heat_map(shares).lerp(frames[rows[0]].mean(0, keepdim=True), picture))
                masks.append(shares)
                lines.append(f"{number}: {len(rows)} solutions, spread {spreads.mean():.3f} (most {spreads.max():.3f})")
            return io.NodeOutput(host.give_images(maps), host.give_images(masks), ui=host.summary(lines))


class PULSECompareNode(io.ComfyNode):
    """Inputs and results -> one comparison for each result."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSECompare",
            display_name="PULSE Compare",
            category=sockets.CATEGORY,
            search_aliases=["face", "compare", "before after", "slider"],
            description="Shows input, result, downscaled result, and the error between the two, side by side. "
            + NOTICE,
            inputs=[
                io.Image.Input("image", tooltip="The low-resolution inputs."),
                io.Image.Input("result", tooltip="From PULSE Search; the same number for each input."),
                io.Float.Input(
                    "gain",
                    default=10.0,
                    min=1.0,
                    max=1000.0,
                    step=1.0,
                    tooltip="Factor by which the error is amplified.",
                ),
                io.Int.Input("side", default=384, min=64, max=1024, step=32, tooltip="Height of each part in pixels."),
                sockets.Degradation.Input(
                    "degradation", optional=True, tooltip="The degradation that was connected to the search."
                ),
                *offers.slider("compare_view", "Input and result under a slider, in newer versions of ComfyUI."),
            ],
            outputs=[io.Image.Output("comparison", display_name="image", tooltip="One for each result.")],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        result: Tensor,
        gain: float,
        side: int,
        degradation: Degradation | None = None,
        compare_view: Any = None,
    ) -> io.NodeOutput:
        with host.gradients():
            given, results = host.Frames(image), host.Frames(result)
            if len(results) % len(given):
                raise SettingError(
                    f"There are {len(results)} results for {len(given)} inputs.",
                    "the same number of results for each input.",
                    "connect the image and the result of the same search.",
                )
            slider = Slider()
            sheets = host.Images(len(results))
            for row, found in enumerate(results):
                target = given[row * len(given) // len(results)]
                sizes = [(each.shape[-2], each.shape[-1]) for each in (target, found)]
                operator = forward_operator(degradation, *sizes)
                seen, shown = operator.forward(found[None])[0], operator.project(target[None])[0]
                sheets.add(from_pil(comparison(shown, found, seen.clamp(0, 1), gain, side)))
                slider.add(shown, found)
            return io.NodeOutput(sheets.all(), ui=slider.ui)

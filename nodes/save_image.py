"""PULSESaveImage."""

from __future__ import annotations

import json

from comfy_api.latest import io, ui
from torch import Tensor

from ..pulse_core.pictures.images import NOTICE, save_image
from . import folders, host, offers, reports, sockets


class PULSESaveImageNode(io.ComfyNode):
    """IMAGEs and the report -> PNG files with metadata."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSESaveImage",
            display_name="PULSE Save Image",
            category=sockets.CATEGORY,
            search_aliases=["save face", "png", "metadata"],
            description="Saves results as PNG with the workflow, as Save Image does, and with the seed, L2, settings, "
            "generator and hash of each picture, and a note that it is invented. " + NOTICE,
            inputs=[
                io.Image.Input("image", tooltip="The results."),
                io.String.Input(
                    "filename_prefix",
                    default="PULSE/face",
                    tooltip="Path below ComfyUI's output folder; a number is appended.",
                ),
                sockets.report("From PULSE Search: the metadata of the pictures."),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image: Tensor, filename_prefix: str, report: str = "") -> io.NodeOutput:
        allowed = host.writes_metadata()
        chunks = {"prompt": cls.hidden.prompt, **(cls.hidden.extra_pnginfo or {}), "pulse": None} if allowed else {}
        texts = {name: json.dumps(value) for name, value in chunks.items() if value is not None}
        saved = []
        with host.gradients():
            for frame, metadata in zip(host.Frames(image), reports.metadata_of_each(report, len(image)), strict=True):
                path = folders.output_file(filename_prefix, ".png")
                save_image(frame, path, metadata if allowed and metadata else None, texts=texts)
                subfolder = folders.in_output(path).parent.as_posix().removeprefix(".")
                saved.append(ui.SavedResult(path.name, subfolder, io.FolderType.output))
        return io.NodeOutput(ui=ui.SavedImages(saved))

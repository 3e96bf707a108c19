"""PULSESaveStyleGAN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..pulse_core.loading.conversion import save_generator
from . import folders, host, offers, sockets

if TYPE_CHECKING:
    from ..pulse_core.generators import Generator


class PULSESaveStyleGANNode(io.ComfyNode):
    """STYLEGAN -> a .safetensors file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSESaveStyleGAN",
            display_name="PULSE Save StyleGAN",
            category=sockets.CATEGORY,
            description="Writes a generator as one .safetensors file into ComfyUI's output folder, where Load StyleGAN "
            "finds it. The file is safe to share, loads quickly, and renders the same images bit for bit.",
            inputs=[
                sockets.StyleGAN.Input("stylegan", tooltip="The generator to save."),
                io.String.Input(
                    "filename_prefix",
                    default=f"{folders.MODEL_FOLDER}/generator",
                    tooltip="Path below ComfyUI's output folder; a number is appended. Load StyleGAN lists stylegan/.",
                ),
            ],
            outputs=[io.String.Output("path", display_name="path", tooltip="The file that was written.")],
            has_intermediate_output=True,
            is_output_node=True,
        )

    @classmethod
    def execute(cls, stylegan: Generator, filename_prefix: str) -> io.NodeOutput:
        with host.gradients():
            path = save_generator(host.known(stylegan), folders.output_file(filename_prefix))
        written = f"written to output/{folders.in_output(path).as_posix()}"
        return io.NodeOutput(str(path), ui=host.summary([written]))

"""PULSEInspectStyleGAN."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..pulse_core.loading.inspection import as_summary, describe_generator
from . import host, offers, sockets

if TYPE_CHECKING:
    from ..pulse_core.generators import Generator


class PULSEInspectStyleGANNode(io.ComfyNode):
    """STYLEGAN -> what it is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEInspectStyleGAN",
            display_name="PULSE Inspect StyleGAN",
            category=sockets.CATEGORY,
            description="Says what a generator is: family, resolution, dimensions, format, hash, and the licence and "
            "origin of known checkpoints.",
            inputs=[sockets.StyleGAN.Input("stylegan", tooltip="The generator to look at.")],
            outputs=[io.String.Output("metadata", display_name="metadata", tooltip="The same as JSON.")],
            has_intermediate_output=True,
            is_output_node=True,
        )

    @classmethod
    def execute(cls, stylegan: Generator) -> io.NodeOutput:
        with host.gradients():
            metadata = describe_generator(host.known(stylegan))
        return io.NodeOutput(json.dumps(metadata, indent=2), ui=host.summary([as_summary(metadata)]))

"""LoadStyleGAN."""

from __future__ import annotations

from comfy_api.latest import io

from ..pulse_core.loading.load import load_generator
from . import folders, host, offers, sockets


class LoadStyleGANNode(io.ComfyNode):
    """A checkpoint file -> STYLEGAN."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="LoadStyleGAN",
            display_name="Load StyleGAN",
            category=sockets.CATEGORY,
            search_aliases=["face", "generator", "load model", "checkpoint"],
            description="Loads a StyleGAN generator from models/stylegan or from the pack's weights. "
            "Nothing in the file is executed.",
            inputs=[
                io.Combo.Input(
                    "stylegan_file",
                    options=folders.checkpoint_names(),
                    tooltip="The generator's checkpoint. Files go into models/stylegan; ffhq-mobile (faces, 1024x1024) "
                    "comes with the installation, or with `python -m pulse_core fetch ffhq-mobile`.",
                ),
            ],
            outputs=[sockets.StyleGAN.Output("stylegan", display_name="stylegan", tooltip="The frozen generator.")],
        )

    @classmethod
    def validate_inputs(cls, stylegan_file: str | None) -> bool | str:
        """Says before the run what to do about a missing checkpoint."""
        return folders.is_there(folders.checkpoint_path, stylegan_file)

    @classmethod
    def fingerprint_inputs(cls, stylegan_file: str) -> str:
        """Changes when the file does, so that an exchanged checkpoint is loaded again."""
        return folders.fingerprint(folders.checkpoint_path(stylegan_file))

    @classmethod
    def execute(cls, stylegan_file: str) -> io.NodeOutput:
        with host.gradients():
            return io.NodeOutput(load_generator(folders.checkpoint_path(stylegan_file)))

"""PULSESampleFace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from comfy_api.latest import io

from ..pulse_core.latents.latent import Latent
from ..pulse_core.latents.sampling import sample
from ..pulse_core.latents.spaces import seed_range
from ..pulse_core.pictures.images import NOTICE
from . import host, offers, sockets

if TYPE_CHECKING:
    from ..pulse_core.generators import Generator


class PULSESampleFaceNode(io.ComfyNode):
    """STYLEGAN and a seed -> IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSESampleFace",
            display_name="PULSE Sample Face",
            category=sockets.CATEGORY,
            search_aliases=["face", "random face", "generate face"],
            description="Renders invented faces from seeds, for graphs without any input file. " + NOTICE,
            inputs=[
                sockets.StyleGAN.Input("stylegan", tooltip="The generator; it needs its mapping network."),
                sockets.seed("The same seed gives the same face on every machine, up to rounding."),
                io.Int.Input(
                    "count", default=1, min=1, max=256, tooltip="Number of faces, with the seeds seed, seed + 1, ..."
                ),
                io.Float.Input(
                    "truncation",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="psi. 0: the mean face; 1: the generator's full variety. Lower values look cleaner.",
                ),
                sockets.class_label(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The invented faces."),
                sockets.StyleGANLatent.Output(
                    "latent", display_name="latent", tooltip="The style vectors ws of the faces."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, stylegan: Generator, seed: int, count: int, truncation: float, class_label: int = -1
    ) -> io.NodeOutput:
        seeds, styles, images = seed_range(seed, count), [], host.Images(count)
        with host.gradients():
            generator, progress = host.on_device(stylegan), host.Progress()
            host.check_room(count, *generator.size)
            for image, ws in sample(generator, seeds, truncation, host.class_of(class_label)):
                images.add(image)
                styles.append(ws)
                progress.count(len(styles), count)
            records = tuple({"seed": each, "truncation_psi": truncation} for each in seeds)
            latent = Latent(torch.stack(styles), (), generator.name, generator.content_hash, records)
            return io.NodeOutput(images.all(), host.give_latent(latent))

"""PULSESaveLatent, PULSELoadLatent, PULSEPickLatents, PULSEBlendLatents and PULSESynthesize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..pulse_core.latents.blending import blend
from ..pulse_core.latents.latent import LATENT_SUFFIX, Latent
from ..pulse_core.latents.sampling import LATENT_NOISE_MODES, synthesize
from ..pulse_core.pictures.images import NOTICE
from . import folders, host, offers, sockets
from .choices import chosen

if TYPE_CHECKING:
    from ..pulse_core.generators import Generator


class PULSESaveLatentNode(io.ComfyNode):
    """STYLEGAN_LATENT -> a .safetensors file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSESaveLatent",
            display_name="PULSE Save Latent",
            category=sockets.CATEGORY,
            description="Writes latents into ComfyUI's output folder, with their noise maps, seeds and settings, and "
            "the name and hash of the generator: a few megabytes for a face, to render, blend or continue to search "
            "later.",
            inputs=[
                sockets.StyleGANLatent.Input("latent", tooltip="The latents; a batch goes into one file."),
                io.String.Input(
                    "filename_prefix",
                    default="latents/pulse",
                    tooltip=f"Path below ComfyUI's output folder; a number and {LATENT_SUFFIX} are appended.",
                ),
            ],
            outputs=[io.String.Output("path", display_name="path", tooltip="The file that was written.")],
            has_intermediate_output=True,
            is_output_node=True,
        )

    @classmethod
    def execute(cls, latent: Any, filename_prefix: str) -> io.NodeOutput:
        with host.gradients():
            path = folders.output_file(filename_prefix, LATENT_SUFFIX)
            host.take_latent(latent).save(path)
        written = f"written to output/{folders.in_output(path).as_posix()}"
        return io.NodeOutput(str(path), ui=host.summary([written]))


class PULSELoadLatentNode(io.ComfyNode):
    """A file -> STYLEGAN_LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSELoadLatent",
            display_name="PULSE Load Latent",
            category=sockets.CATEGORY,
            description="Reads latents that PULSE Save Latent wrote, from ComfyUI's input and output folders.",
            inputs=[
                io.Combo.Input(
                    "latent_file",
                    options=folders.latent_names(),
                    tooltip=f"The {LATENT_SUFFIX} files in ComfyUI's input and output folders.",
                )
            ],
            outputs=[
                sockets.StyleGANLatent.Output("latent", display_name="latent", tooltip="Style vectors and noise.")
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, latent_file: str | None) -> bool | str:
        """Says before the run what to do about a missing file."""
        return folders.is_there(folders.latent_path, latent_file)

    @classmethod
    def fingerprint_inputs(cls, latent_file: str) -> str:
        """Changes when the file does."""
        return folders.fingerprint(folders.latent_path(latent_file))

    @classmethod
    def execute(cls, latent_file: str) -> io.NodeOutput:
        with host.gradients():
            latent = Latent.load(folders.latent_path(latent_file))
        return io.NodeOutput(host.give_latent(latent), ui=host.summary([_described(latent)]))


class PULSEPickLatentsNode(io.ComfyNode):
    """STYLEGAN_LATENT -> some of its latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEPickLatents",
            display_name="PULSE Pick Latents",
            category=sockets.CATEGORY,
            description="Picks latents from a batch, in any order: to save, blend or continue with the best.",
            inputs=[
                sockets.StyleGANLatent.Input("latent", tooltip="A batch of latents."),
                io.String.Input(
                    "which",
                    default="1",
                    tooltip="all, or numbers from 1 up, like 3, 1. PULSE Search returns the best of each image first.",
                ),
            ],
            outputs=[
                sockets.StyleGANLatent.Output(
                    "picked", display_name="latent", tooltip="The picked latents, in this order."
                )
            ],
        )

    @classmethod
    def execute(cls, latent: Any, which: str) -> io.NodeOutput:
        with host.gradients():
            latents = host.take_latent(latent)
            rows = chosen(which, len(latents), "read the numbers off a PULSE Contact Sheet of the batch.")
            return io.NodeOutput(host.give_latent(latents.take(rows)))


class PULSESynthesizeNode(io.ComfyNode):
    """STYLEGAN and STYLEGAN_LATENT -> IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSESynthesize",
            display_name="PULSE Synthesize",
            category=sockets.CATEGORY,
            search_aliases=["render latent", "decode"],
            description="Renders latents: the generator's own images, without a residual. " + NOTICE,
            inputs=[
                sockets.StyleGAN.Input("stylegan", tooltip="The generator of the latents."),
                sockets.StyleGANLatent.Input("latent", tooltip="From PULSE Search, Load Latent, Blend Latents, ..."),
                io.Combo.Input(
                    "noise",
                    options=list(LATENT_NOISE_MODES),
                    default="kept",
                    tooltip="kept: the noise maps of the latent, with which the generator renders the same face again. "
                    "const: the generator's own noise maps, also used by kept if a latent has none. none: no noise, "
                    "smoother skin and hair.",
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image", tooltip="The invented images.")],
        )

    @classmethod
    def execute(cls, stylegan: Generator, latent: Any, noise: str) -> io.NodeOutput:
        with host.gradients():
            generator, latents = host.on_device(stylegan), host.take_latent(latent)
            host.check_room(len(latents), *generator.size)
            images = host.Progress().over(synthesize(generator, latents, noise), len(latents))
            return io.NodeOutput(host.give_images(images, len(latents)))


class PULSEBlendLatentsNode(io.ComfyNode):
    """Two STYLEGAN_LATENTs -> STYLEGAN_LATENT between them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEBlendLatents",
            display_name="PULSE Blend Latents",
            category=sockets.CATEGORY,
            search_aliases=["interpolate", "mix styles", "morph"],
            description="Interpolates between two latents of one generator in W: in all layers, in some of them (style "
            "mixing), or as a sequence of frames.",
            inputs=[
                sockets.StyleGANLatent.Input(
                    "latent_a", tooltip="The latent at weight 0; layers that are not blended are taken from it."
                ),
                sockets.StyleGANLatent.Input(
                    "latent_b", tooltip="The latent at weight 1. As many as latent_a, or one in either input."
                ),
                io.Float.Input(
                    "weight",
                    default=0.5,
                    min=-1.0,
                    max=2.0,
                    step=0.05,
                    tooltip="0: latent_a, 1: latent_b; values outside 0..1 extrapolate.",
                ),
                io.Int.Input(
                    "first_layer",
                    default=0,
                    min=-64,
                    max=63,
                    tooltip="The first style layer to blend, from 0. The first four are pose and shape, the next four "
                    "features and hair, the rest colours and texture. Negative: from the end.",
                ),
                io.Int.Input(
                    "last_layer",
                    default=-1,
                    min=-64,
                    max=63,
                    tooltip="The last style layer to blend; -1: the last one.",
                ),
                io.Int.Input(
                    "frames",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="Latents for each pair, in even steps from latent_a to the weight; 1: only the weight.",
                ),
            ],
            outputs=[sockets.StyleGANLatent.Output("latent", display_name="latent", tooltip="The blended latents.")],
        )

    @classmethod
    def execute(
        cls, latent_a: Any, latent_b: Any, weight: float, first_layer: int, last_layer: int, frames: int
    ) -> io.NodeOutput:
        with host.gradients():
            a, b = host.take_latent(latent_a), host.take_latent(latent_b)
            return io.NodeOutput(host.give_latent(blend(a, b, weight, first_layer, last_layer, frames)))


def _described(latent: Latent) -> str:
    """A description of loaded latents, for the node."""
    count, num_ws, w_dim = latent.ws.shape
    whose = f"of {latent.generator or 'an unknown generator'}"
    noise = "with noise" if latent.noise else "without noise"
    return f"{count} latent{'s' if count > 1 else ''} {whose}, {num_ws} style vectors of {w_dim}, {noise}"

"""PULSESaveLatent, PULSELoadLatent, PULSEPickLatents, PULSEBlendLatents and PULSESynthesize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ..pulse_core.latents.blending import blend
from ..pulse_core.latents.latent import LATENT_SUFFIX, Latent
from ..pulse_core.latents.sampling import LATENT_NOISE_MODES, synthesize
from ..pulse_core.pictures.images import NOTICE
from . import folders, host, sockets
from .choices import chosen

if TYPE_CHECKING:
    from ..pulse_core.generators import Generator


class PULSESaveLatentNode(io.ComfyNode):
    """STYLEGAN_LATENT -> a .safetensors file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PULSESaveLatent",
            display_name="PULSE Save Latent",
            category=sockets.CATEGORY,
            description="Writes latents into ComfyUI's output folder, with their noise, the generator's name and hash, "
            "seeds and settings: a face in a few megabytes, to draw, blend or search on later.",
            inputs=[
                sockets.StyleGANLatent.Input("latent", tooltip="What to save; a batch goes into one file."),
                io.String.Input(
                    "filename_prefix",
                    default="latents/pulse",
                    tooltip=f"Below ComfyUI's output folder; a number and {LATENT_SUFFIX} are added.",
                ),
            ],
            outputs=[io.String.Output("path", display_name="path", tooltip="The file that was written.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, latent: Any, filename_prefix: str) -> io.NodeOutput:
        with host.gradients():
            path = folders.output_file(filename_prefix, LATENT_SUFFIX)
            host.take_latent(latent).save(path)
        written = f"written to output/{folders.in_output(path).as_posix()}"
        host.show_text(cls.hidden.unique_id, written)
        return io.NodeOutput(str(path), ui=ui.PreviewText(written))


class PULSELoadLatentNode(io.ComfyNode):
    """A file -> STYLEGAN_LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
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
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, latent_file: str) -> str:
        """Changes when the file does."""
        return folders.fingerprint(folders.latent_path(latent_file))

    @classmethod
    def execute(cls, latent_file: str) -> io.NodeOutput:
        with host.gradients():
            latent = Latent.load(folders.latent_path(latent_file))
        host.show_text(cls.hidden.unique_id, _described(latent))
        return io.NodeOutput(host.give_latent(latent))


class PULSEPickLatentsNode(io.ComfyNode):
    """STYLEGAN_LATENT -> some of it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PULSEPickLatents",
            display_name="PULSE Pick Latents",
            category=sockets.CATEGORY,
            description="Takes some latents out of a batch, in any order: to save, blend or search on with the best.",
            inputs=[
                sockets.StyleGANLatent.Input("latent", tooltip="A batch of latents."),
                io.String.Input(
                    "which",
                    default="1",
                    tooltip="all, or numbers from 1 up, like 3, 1. PULSE Search has the best of each image first.",
                ),
            ],
            outputs=[sockets.StyleGANLatent.Output("picked", display_name="latent", tooltip="Those, in this order.")],
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
        return io.Schema(
            node_id="PULSESynthesize",
            display_name="PULSE Synthesize",
            category=sockets.CATEGORY,
            description="Draws the images of latents: the generator's own, without a residual. " + NOTICE,
            inputs=[
                sockets.StyleGAN.Input("stylegan", tooltip="The generator that the latents are of."),
                sockets.StyleGANLatent.Input("latent", tooltip="From PULSE Search, Load Latent, Blend Latents, ..."),
                io.Combo.Input(
                    "noise",
                    options=list(LATENT_NOISE_MODES),
                    default="kept",
                    tooltip="kept: the noise that the search found, so that the generator draws the same face again; "
                    "where a latent has none, and for const, the generator's own; none: no noise, smoother skin "
                    "and hair.",
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image", tooltip="The invented images.")],
        )

    @classmethod
    def execute(cls, stylegan: Generator, latent: Any, noise: str) -> io.NodeOutput:
        with host.gradients():
            generator, latents = host.on_device(stylegan), host.take_latent(latent)
            images = host.Progress().over(synthesize(generator, latents, noise), len(latents))
            return io.NodeOutput(host.give_images(images, len(latents)))


class PULSEBlendLatentsNode(io.ComfyNode):
    """Two STYLEGAN_LATENTs -> STYLEGAN_LATENT between them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PULSEBlendLatents",
            display_name="PULSE Blend Latents",
            category=sockets.CATEGORY,
            description="Between two latents of one generator: interpolation in W over all layers, style mixing over "
            "some of them, or a row of frames from one to the other.",
            inputs=[
                sockets.StyleGANLatent.Input("latent_a", tooltip="Where weight 0 is; its other layers are kept."),
                sockets.StyleGANLatent.Input("latent_b", tooltip="Where weight 1 is. As many as A, or one of either."),
                io.Float.Input(
                    "weight",
                    default=0.5,
                    min=-1.0,
                    max=2.0,
                    step=0.05,
                    tooltip="0: A, 1: B; beyond them it goes on in the same direction.",
                ),
                io.Int.Input(
                    "first_layer",
                    default=0,
                    min=-64,
                    max=63,
                    tooltip="The first style layer that is blended, from 0: pose and shape lie in the first four, "
                    "features and hair in the next four, colours and texture in the rest. Negative: from the end.",
                ),
                io.Int.Input(
                    "last_layer", default=-1, min=-64, max=63, tooltip="The last one that is blended; -1 is the last."
                ),
                io.Int.Input(
                    "frames",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="Latents for each pair, from A to the weight in even steps; 1: the weight alone.",
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
    """What a file estimate, for the node."""
    count, num_ws, w_dim = latent.ws.shape
    whose = f"of {latent.generator or 'an unknown generator'}"
    noise = "with noise" if latent.noise else "without noise"
    return f"{count} latent{'s' if count > 1 else ''} {whose}, {num_ws} style vectors of {w_dim}, {noise}"

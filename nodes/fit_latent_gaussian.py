"""FitLatentGaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..pulse_core.gaussian import DEFAULT_SAMPLES, gaussian_for
from ..pulse_core.latents import SEEDS
from . import host, sockets

if TYPE_CHECKING:
    from ..pulse_core.generators import Generator


class FitLatentGaussianNode(io.ComfyNode):
    """STYLEGAN -> LATENT_GAUSSIAN."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FitLatentGaussian",
            display_name="Fit Latent Gaussian",
            category=sockets.CATEGORY,
            description="Measures where a generator's latents lie: the mean and spread of W, which a search starts "
            "from. Made once and kept beside the checkpoint; known generators bring theirs along.",
            inputs=[
                sockets.StyleGAN.Input("stylegan", tooltip="The generator; it needs its mapping network."),
                io.Int.Input(
                    "samples",
                    default=DEFAULT_SAMPLES,
                    min=2,
                    max=100_000_000,
                    step=1000,
                    tooltip="How many random latents are mapped. 1,000,000 is the published number; "
                    "10,000 takes a second and is nearly as good.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEEDS - 1,
                    control_after_generate=False,  # a seed that changed by itself would fit anew on every run
                    tooltip="Of the random latents.",
                ),
            ],
            outputs=[
                sockets.LatentGaussian.Output("gaussian", display_name="gaussian", tooltip="Mean and spread of W.")
            ],
        )

    @classmethod
    def execute(cls, stylegan: Generator, samples: int, seed: int) -> io.NodeOutput:
        with host.gradients():
            generator = host.on_device(stylegan)
            fit = gaussian_for(generator, samples=samples, seed=seed, on_progress=host.Progress().count)
            return io.NodeOutput(fit)

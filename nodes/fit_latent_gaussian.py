"""FitLatentGaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..pulse_core.latents.encoder.training import DEFAULT_PAIRS
from ..pulse_core.latents.fits import gaussian_for
from ..pulse_core.latents.gaussian import DEFAULT_SAMPLES, LatentGaussian
from . import folders, host, offers, sockets

if TYPE_CHECKING:
    from ..pulse_core.generators import Generator


_MEASURE = "fit now (or reuse the cached fit)"


class FitLatentGaussianNode(io.ComfyNode):
    """STYLEGAN -> LATENT_GAUSSIAN."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="FitLatentGaussian",
            display_name="Fit Latent Gaussian",
            category=sockets.CATEGORY,
            description="Fits the prior of a search: the mean and covariance of a generator's W. It can also train an "
            "encoder. The last fits are cached in ComfyUI's user folder; generators of the catalogue come with one.",
            inputs=[
                sockets.StyleGAN.Input("stylegan", tooltip="The generator; it needs its mapping network."),
                io.Int.Input(
                    "samples",
                    default=DEFAULT_SAMPLES,
                    min=2,
                    max=100_000_000,
                    step=1000,
                    tooltip="Number of random latents that are mapped to W. 1,000,000 is the published number; 10,000 "
                    "take a second and are nearly as good.",
                ),
                # a seed that changes after each run would fit again each time
                offers.advanced(sockets.seed("Seed of the random latents.", changes=False)),
                sockets.class_label(),
                io.Combo.Input(
                    "fit_file",
                    options=[_MEASURE, *folders.fit_names()],
                    default=_MEASURE,
                    optional=True,
                    tooltip="Load a fit from models/stylegan instead, for example PULSE's gaussian_fit.pt.",
                ),
                io.Int.Input(
                    "encoder_pairs",
                    default=0,
                    min=0,
                    max=1_000_000,
                    step=100,
                    optional=True,
                    tooltip="Also train an encoder on this many pairs of latents and rendered images, 100 or more; "
                    f"{DEFAULT_PAIRS} take about an hour on two CPU cores, minutes on a GPU. Searches then start close "
                    "to their input. 0: no encoder. Generators of the catalogue come with one.",
                ),
            ],
            outputs=[
                sockets.LatentGaussian.Output(
                    "gaussian",
                    display_name="gaussian",
                    tooltip="Mean and covariance of W, and the encoder if there is one.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, fit_file: str | None = _MEASURE) -> bool | str:
        """Says before the run what to do about a missing fit."""
        return fit_file == _MEASURE or folders.is_there(folders.checkpoint_path, fit_file)

    @classmethod
    def execute(
        cls,
        stylegan: Generator,
        samples: int,
        seed: int,
        class_label: int = -1,
        fit_file: str = _MEASURE,
        encoder_pairs: int = 0,
    ) -> io.NodeOutput:
        with host.gradients():
            if fit_file != _MEASURE:
                return io.NodeOutput(LatentGaussian.load(folders.checkpoint_path(fit_file)))
            label, progress = host.class_of(class_label), host.Progress()
            fit = gaussian_for(
                host.on_device(stylegan),
                samples=samples,
                seed=seed,
                class_index=label,
                encoder_pairs=encoder_pairs,
                on_progress=progress.count,
                cache=folders.fit_cache(),
            )
            return io.NodeOutput(fit)

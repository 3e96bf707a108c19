"""PULSESearch."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.gaussian import LatentGaussian, gaussian_for
from ..pulse_core.images import NOTICE
from ..pulse_core.latent_search.config import SearchConfig
from ..pulse_core.latent_search.loop import Solution, search
from ..pulse_core.latents import SEEDS
from . import host, sockets

if TYPE_CHECKING:
    from ..pulse_core.generators import Generator

# The settings of a search that are widgets, in their order on the node. Only ever append.
_SETTINGS = (
    "steps",
    "starts",
    "eps",
    "loss",
    "optimizer",
    "learning_rate",
    "schedule",
    "noise",
    "trainable_noise_layers",
    "latent_space",
    "batch_size",
)
_STEPS = {"eps": 0.0001, "learning_rate": 0.01}


def _widget(name: str) -> Any:
    """The widget of one setting, described by the setting itself."""
    item = next(item for item in fields(SearchConfig) if item.name == name)
    meta, default = item.metadata, item.default
    tooltip = f"{meta['help'][0].upper()}{meta['help'][1:]}." + (f" Unit: {meta['unit']}." if meta["unit"] else "")
    if meta["choices"]:
        return io.Combo.Input(name, options=list(meta["choices"]), default=default, tooltip=tooltip)
    if isinstance(default, str):
        return io.String.Input(name, default=default, tooltip=tooltip)
    if isinstance(default, int):
        return io.Int.Input(name, default=default, min=int(meta["low"]), max=int(meta["high"]), tooltip=tooltip)
    step = _STEPS[name]
    return io.Float.Input(
        name, default=default, min=meta["low"], max=meta["high"], step=step, round=step / 100, tooltip=tooltip
    )


class PULSESearchNode(io.ComfyNode):
    """STYLEGAN and tiny IMAGEs -> invented IMAGEs that scale down to them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PULSESearch",
            display_name="PULSE Search",
            category=sockets.CATEGORY,
            description="Searches the generator for images that scale down to the given tiny ones. " + NOTICE,
            inputs=[
                sockets.StyleGAN.Input("stylegan", tooltip="The generator to search."),
                io.Image.Input(
                    "image",
                    tooltip="Tiny aligned faces, for example 32x32: square, with a side that divides the generator's.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEEDS - 1,
                    control_after_generate=True,
                    tooltip="The same seed gives the same solution; another seed another face. "
                    "Every image of a batch uses it.",
                ),
                *(_widget(name) for name in _SETTINGS),
                io.Int.Input(
                    "preview_every",
                    default=5,
                    min=0,
                    max=1000,
                    tooltip="Show the current image every so many steps; 0 shows none.",
                ),
                sockets.LatentGaussian.Input(
                    "gaussian",
                    optional=True,
                    tooltip="From Fit Latent Gaussian. Unconnected: the one that is shipped or cached, or made now.",
                ),
                sockets.class_label(),
            ],
            outputs=[
                io.Image.Output("result", display_name="image", tooltip="The best image of each search, invented."),
                io.Image.Output("downscaled", display_name="downscaled", tooltip="Each result, scaled back down."),
                sockets.StyleGANLatent.Output(
                    "latent", display_name="latent", tooltip="Style vectors ws of the results."
                ),
                io.String.Output(
                    "report", display_name="report", tooltip="JSON: L2, converged, steps, seed of each result."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        stylegan: Generator,
        image: Tensor,
        seed: int,
        preview_every: int,
        gaussian: LatentGaussian | None = None,
        class_label: int = -1,
        **settings: Any,
    ) -> io.NodeOutput:
        config = SearchConfig(**settings)
        with host.gradients():
            generator, progress = host.on_device(stylegan), host.Progress(preview_every)
            label = host.class_of(class_label)
            fit = gaussian or gaussian_for(generator, class_index=label, on_progress=progress.count)
            fit = LatentGaussian(host.plain(fit.mean), host.plain(fit.std))
            solutions = search(generator, host.take_image(image), fit, config, seed=seed, on_step=progress.step)
            return io.NodeOutput(
                host.give_images(solution.image for solution in solutions),
                host.give_images(solution.downscaled for solution in solutions),
                host.give_latent(torch.stack([solution.ws for solution in solutions])),
                _report(solutions, generator, config),
            )


def _report(solutions: list[Solution], generator: Generator, config: SearchConfig) -> str:
    rows = [{"image": solution.index, **solution.facts(config.eps)} for solution in solutions]
    facts = {"generator": generator.name, "generator_hash": generator.content_hash}
    return json.dumps({"notice": NOTICE, **facts, "images": rows}, indent=2)

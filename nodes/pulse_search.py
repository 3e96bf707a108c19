"""PULSESearch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io
from torch import Tensor
from torch.nn import functional as F

from ..pulse_core.faces.sizes import AUTO
from ..pulse_core.latent_search.config import PRESETS, RECOMMENDED, SearchConfig
from ..pulse_core.latent_search.loop import solutions
from ..pulse_core.latent_search.solution import Solution, ranking
from ..pulse_core.latents.gaussian import LatentGaussian, gaussian_for
from ..pulse_core.latents.latent import Latent, latent_from_solutions
from ..pulse_core.latents.spaces import seed_range
from ..pulse_core.pictures.images import NOTICE
from . import host, reports, sockets
from .targets import Target, targets_of

if TYPE_CHECKING:
    from ..pulse_core.degradations import Degradation
    from ..pulse_core.generators import Generator

# Settings of a search, in their order on the node; new ones go to the end, where saved workflows do not miss them.
_EVERYDAY = ("steps", "solutions", "eps")
_SELDOM = (
    "loss",
    "optimizer",
    "learning_rate",
    "schedule",
    "noise",
    "trainable_noise_layers",
    "latent_space",
    "batch_size",
)
_LATER = ("prior_sample_scale", "fidelity")
_CUSTOM = "custom"
_SEEDS = ("same", "one each")


class PULSESearchNode(io.ComfyNode):
    """STYLEGAN and tiny IMAGEs -> invented IMAGEs that scale down to them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PULSESearch",
            display_name="PULSE Search",
            category=sockets.CATEGORY,
            description="Searches the generator for faces like the given tiny ones, and puts in what it cannot draw, "
            "so that the result scales down to exactly the input. " + NOTICE,
            inputs=[
                sockets.StyleGAN.Input("stylegan", tooltip="The generator to search."),
                io.Image.Input(
                    "image",
                    tooltip="Tiny aligned faces, for example 32x32, or the aligned ones of PULSE Align Faces, together "
                    "with its faces.",
                ),
                sockets.seed("The same seed gives the same solution; another seed, another face."),
                *sockets.widgets(SearchConfig, _EVERYDAY, _SELDOM),
                io.Int.Input(
                    "preview_every",
                    default=5,
                    min=0,
                    max=1000,
                    tooltip="Show the latest full-resolution image every so many steps; 0 shows none.",
                ),
                *_optional_inputs(),
            ],
            outputs=[
                io.Image.Output("result", display_name="image", tooltip="The best image of each search, invented."),
                io.Image.Output("downscaled", display_name="downscaled", tooltip="Each result, scaled back down."),
                sockets.StyleGANLatent.Output(
                    "latent", display_name="latent", tooltip="Style vectors and noise of the results."
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="JSON: L2, residual, converged, steps and seed of each result.",
                ),
                io.Image.Output(
                    "residual",
                    display_name="residual",
                    tooltip="What the generator could not draw of each input; grey is zero. fidelity puts it into "
                    "the image.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
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
        lr_size: int = AUTO,
        faces: Any = None,
        preset: str = _CUSTOM,
        settings: dict[str, Any] | None = None,
        degradation: Degradation | None = None,
        init_latent: Any = None,
        seeds: str = _SEEDS[0],
        **widgets: Any,
    ) -> io.NodeOutput:
        config, node = _config(preset, widgets, settings or {}), cls.hidden.unique_id
        with host.gradients():
            at_a_time = config.batch_size if config.candidates == 1 else 1
            at_a_time = min(max(at_a_time, 1), len(image) * config.solutions)  # 0 takes what is free
            generator, progress = host.on_device(stylegan, at_a_time), host.Progress(preview_every, node)
            targets = targets_of(image, faces, lr_size, generator, degradation)
            if faces is not None and not targets:
                host.show_text(node, "no face; the image passes through")
                return _passed_through(image, generator, _report([], [], generator, config, degradation))
            searches = iter_search(
                generator,
                [target.picture for target in targets],
                _fit(gaussian, generator, class_label, progress),
                config,
                seed=_seeds(seed, seeds, len(targets), config.solutions),
                degradation=[target.degradation for target in targets],
                init_latent=None if init_latent is None else host.take_latent(init_latent),
                on_step=progress.step,
                make_room=partial(host.make_room, generator),
            )
            images, found = _collect(searches, targets, config.solutions)
        report = _report(found, targets, generator, config, degradation)
        host.show_lines(node, [*_summary(found), *_lines(found, targets)])
        host.note_in_pictures(cls.hidden.extra_pnginfo, node, report)
        return _given(images, found, generator, report)


def _optional_inputs() -> list[Any]:
    """Those that may stay unconnected, and those that came later, in the order in which they came."""
    return [
        sockets.LatentGaussian.Input(
            "gaussian",
            optional=True,
            tooltip="From Fit Latent Gaussian. Unconnected: the one that is shipped or cached, or made now.",
        ),
        sockets.class_label(),
        sockets.advanced(
            io.Int.Input(
                "lr_size",
                default=AUTO,
                min=0,
                max=4096,
                optional=True,
                tooltip="Pixels a side that the result is matched at. 0: what each image or face really holds, as "
                "measured: one that was enlarged, or is soft or grainy, holds less than it has. Images of fewer than "
                "96 pixels, or with a degradation, are matched as they are.",
            )
        ),
        sockets.Faces.Input(
            "faces",
            optional=True,
            tooltip="From PULSE Align Faces, with its aligned faces as image: each is matched at what it holds, "
            "through the noise, the blur and the greyness that were measured.",
        ),
        io.Combo.Input(
            "preset",
            options=[*PRESETS, _CUSTOM],
            default="recommended",
            optional=True,
            tooltip="recommended: a natural face, and an exact downscaling. published: the search of the paper, "
            "with its 100 steps. Values that you change from their defaults on this node override both. custom: all "
            "values as they are here.",
        ),
        *(sockets.widget(SearchConfig, name, optional=True) for name in _LATER),
        sockets.SearchSettings.Input(
            "settings",
            optional=True,
            tooltip="From PULSE Search Settings; they override the preset and this node.",
        ),
        sockets.Degradation.Input(
            "degradation",
            optional=True,
            tooltip="From PULSE Degradation or PULSE Estimate Degradation: what else happened to the image, in pixels "
            "of the size that is matched. It joins the forward operator; the result is free of it. With faces it "
            "replaces what was measured.",
        ),
        sockets.StyleGANLatent.Input(
            "init_latent",
            optional=True,
            tooltip="Go on from here and stay near it: the latent of an earlier search, of PULSE Load Latent or of a "
            "blend. One for each solution, or one for all images.",
        ),
        io.Combo.Input(
            "seeds",
            options=list(_SEEDS),
            default=_SEEDS[0],
            optional=True,
            tooltip="same: every image of a batch is searched with the seed. one each: the first with seed, the next "
            "with the one that follows (after those of its solutions), and so on.",
        ),
    ]


def _config(preset: str, widgets: dict[str, Any], settings: dict[str, Any]) -> SearchConfig:
    """The preset and the widgets that differ from their defaults, or all widgets; connected settings override both."""
    if preset == _CUSTOM:
        return SearchConfig(**{**widgets, **settings})
    changed = {name: value for name, value in widgets.items() if value != getattr(RECOMMENDED, name)}
    return replace(PRESETS[preset], **{**changed, **settings})


def _fit(given: LatentGaussian | None, generator: Generator, label: int, progress: host.Progress) -> LatentGaussian:
    """The connected fit, or the generator's own: shipped, cached, or made now."""
    fit = given or gaussian_for(generator, class_index=host.class_of(label), on_progress=progress.count)
    return fit.map_tensors(host.plain)


def _same_size(images: list[Tensor]) -> list[Tensor]:
    """Smaller ones with their pixels repeated."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    return [F.interpolate(image[None], (height, width), mode="nearest-exact")[0] for image in images]


def _seeds(first: int, seeds: str, images: int, solutions: int) -> int | list[int]:
    """The first seed of each image."""
    return first if seeds == _SEEDS[0] else seed_range(first, images * solutions)[::solutions]


def _collect(searches: Iterable[Solution], targets: list[Target], solutions: int) -> tuple[Tensor, list[Solution]]:
    """The images as the host's IMAGE, and what is told of them; the solutions of each image by their score."""
    images, rows = host.Images(len(targets) * solutions), []
    for solution in searches:
        images.add(targets[solution.index].match_colour_mode(solution.image))
        rows.append(replace(solution, image=torch.empty(0)).each_noise(host.store))  # one copy of an image is enough
    order = ranking(rows)
    return images.all(order), [rows[row] for row in order]


def _given(images: Tensor, found: list[Solution], generator: Generator, report: dict[str, Any]) -> io.NodeOutput:
    """The outputs of a search."""
    small = host.give_images(_same_size([solution.downscaled for solution in found]))
    left = host.give_images(_same_size([(solution.residual + 0.5).clamp(0, 1) for solution in found]))
    text = json.dumps(report, indent=2)
    latent = host.give_latent(latent_from_solutions(found, generator, reports.metadata_of_each(text, len(found))))
    return io.NodeOutput(images, small, latent, text, left)


def _passed_through(image: Tensor, generator: Generator, report: dict[str, Any]) -> io.NodeOutput:
    """The outputs where there is no face."""
    nothing = host.give_latent(Latent(torch.zeros(0, generator.num_ws, generator.w_dim)))
    return io.NodeOutput(image, image, nothing, json.dumps(report), torch.full_like(image, 0.5))


def _summary(found: list[Solution]) -> list[str]:
    """The first line on the node, where there are several."""
    good, steps = sum(solution.converged for solution in found), sum(solution.steps for solution in found)
    mean = sum(solution.residual_face for solution in found) / len(found)
    return [f"{good} of {len(found)} found in {steps} steps, mean residual {mean:.3f}"] if len(found) > 1 else []


def _lines(found: list[Solution], targets: list[Target]) -> list[str]:
    """One line for each solution."""
    return [
        f"{number}: {solution.summary} "
        f"({solution.steps} steps, seed {solution.seed}, {targets[solution.index].summary})"
        for number, solution in enumerate(found, 1)
    ]


def _report(
    found: list[Solution],
    targets: list[Target],
    generator: Generator,
    config: SearchConfig,
    degradation: Degradation | None,
) -> dict[str, Any]:
    """What was found, of what, and how: for the report, the saved pictures and the saved latents."""
    rows = [
        {"image": solution.index, **targets[solution.index].metadata, **solution.metadata(config.eps)}
        for solution in found
    ]
    how = {"settings": asdict(config), "degradation": None if degradation is None else str(degradation)}
    return {"notice": NOTICE, **generator.identity, "images": rows, **how}

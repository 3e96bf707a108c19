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
from ..pulse_core.latent_search.solution import Solution, latent_from_solutions, ranking
from ..pulse_core.latents.fits import gaussian_for
from ..pulse_core.latents.gaussian import LatentGaussian
from ..pulse_core.latents.latent import Latent
from ..pulse_core.latents.spaces import seed_range
from ..pulse_core.pictures.images import NOTICE
from ..pulse_core.pipeline import Target, search_targets
from . import folders, host, offers, reports, sockets
from .targets import targets_of

if TYPE_CHECKING:
    from ..pulse_core.degradations import Degradation
    from ..pulse_core.generators import Generator

_CUSTOM = "custom"
_SEEDS = ("same", "one each")


class PULSESearchNode(io.ComfyNode):
    """STYLEGAN and low-resolution IMAGEs -> invented IMAGEs that downscale to them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSESearch",
            display_name="PULSE Search",
            category=sockets.CATEGORY,
            search_aliases=["face", "upscale", "super resolution", "restore", "depixelate", "unpixelate", "enlarge"],
            essentials_category=offers.IMAGE_TOOLS,
            description="Searches the generator for faces that downscale to the given low-resolution ones, and adds "
            "what the generator cannot draw, so that the result downscales exactly to the input. " + NOTICE,
            inputs=[
                sockets.StyleGAN.Input("stylegan", tooltip="The generator to search."),
                io.Image.Input(
                    "image",
                    tooltip="Low-resolution aligned faces, for example 32x32; or the aligned faces of PULSE Align "
                    "Faces together with its faces.",
                ),
                sockets.seed("The same seed gives the same solution; another seed gives another face."),
                *sockets.widgets(SearchConfig, "basic", "advanced"),
                io.Int.Input(
                    "preview_every",
                    default=5,
                    min=0,
                    max=1000,
                    tooltip="Steps between previews; the preview is the latest full-resolution image. 0: no preview.",
                ),
                *_optional_inputs(),
            ],
            outputs=[
                io.Image.Output("result", display_name="image", tooltip="The best image of each search; invented."),
                io.Image.Output("downscaled", display_name="downscaled", tooltip="Each result, downscaled again."),
                sockets.StyleGANLatent.Output(
                    "latent", display_name="latent", tooltip="Style vectors and noise maps of the results."
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="JSON: L2, residual, convergence, steps and seed of each result.",
                ),
                io.Image.Output(
                    "residual",
                    display_name="residual",
                    tooltip="What the generator could not draw of each input; grey is zero. fidelity sets how much of "
                    "it goes into the image.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            has_intermediate_output=True,
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
                return _passed_through(image, generator, _report([], [], generator, config))
            maps = sum(height * width for height, width in generator.noise_shapes)
            host.check_room(len(targets) * config.solutions, *generator.size, further=maps)
            solutions = search_targets(
                targets,
                generator,
                _fit(gaussian, generator, class_label, progress),
                config,
                seed=_seeds(seed, seeds, len(targets), config.solutions),
                init_latent=None if init_latent is None else host.take_latent(init_latent),
                on_step=progress.step,
                make_room=partial(host.make_room, generator),
            )
            images, found = _collect(solutions, len(targets) * config.solutions)
        report = _report(found, targets, generator, config)
        host.note_in_pictures(cls.hidden.extra_pnginfo, node, report)
        summary = host.summary([*_summary(found), *_lines(found, targets)])
        return _outputs(images, found, generator, report, summary)


def _optional_inputs() -> list[Any]:
    """Inputs that may stay unconnected. New ones are appended, so that saved workflows keep working."""
    later, last = (sockets.widgets(SearchConfig, widget) for widget in ("appended", "last"))
    return [*_target_inputs(), _preset_input(), *later, *_search_inputs(), *last]


def _target_inputs() -> list[Any]:
    return [
        sockets.LatentGaussian.Input(
            "gaussian",
            optional=True,
            tooltip="From Fit Latent Gaussian. Unconnected: the generator's own fit, shipped, cached or made now.",
        ),
        sockets.class_label(),
        offers.advanced(
            io.Int.Input(
                "lr_size",
                default=AUTO,
                min=0,
                max=4096,
                optional=True,
                tooltip="Width in pixels at which each image or face is matched. 0: its estimated effective size, "
                "which is smaller than the image if that is enlarged, blurred or noisy. Images below 96 pixels, or "
                "with a degradation, are matched as they are.",
            )
        ),
        sockets.Faces.Input(
            "faces",
            optional=True,
            tooltip="From PULSE Align Faces; connect its aligned faces as image. Each face is matched at its "
            "effective size, with its estimated blur, noise and greyness in the forward operator.",
        ),
    ]


def _preset_input() -> Any:
    return io.Combo.Input(
        "preset",
        options=[*PRESETS, _CUSTOM],
        default="recommended",
        optional=True,
        tooltip="recommended: a natural face that downscales exactly to the input. published: the search of the paper "
        "with its 100 steps. Values on this node that differ from their defaults override both. custom: all values as "
        "they are on this node.",
    )


def _search_inputs() -> list[Any]:
    return [
        sockets.SearchSettings.Input(
            "settings",
            optional=True,
            tooltip="From PULSE Search Settings. They override the preset and this node.",
        ),
        sockets.Degradation.Input(
            "degradation",
            optional=True,
            tooltip="From PULSE Degradation or PULSE Estimate Degradation: what happened to the image besides "
            "downscaling, in pixels of the size at which it is matched. It joins the forward operator, and the result "
            "is free of it. With faces it replaces their estimates.",
        ),
        sockets.StyleGANLatent.Input(
            "init_latent",
            optional=True,
            tooltip="Start from this latent and stay near it: from an earlier search, PULSE Load Latent or PULSE Blend "
            "Latents. One for each solution, or one for all images.",
        ),
        io.Combo.Input(
            "seeds",
            options=list(_SEEDS),
            default=_SEEDS[0],
            optional=True,
            tooltip="same: every image of a batch starts from seed. one each: each image has seeds of its own, "
            "counted on from seed.",
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
    options: dict[str, Any] = {"class_index": host.class_of(label), "cache": folders.fit_cache()}
    fit = given or gaussian_for(generator, on_progress=progress.count, **options)
    return fit.map_tensors(host.plain)


def _seeds(first: int, seeds: str, images: int, solutions: int) -> int | list[int]:
    """The first seed of each image."""
    return first if seeds == _SEEDS[0] else seed_range(first, images * solutions)[::solutions]


def _collect(solutions: Iterable[Solution], count: int) -> tuple[Tensor, list[Solution]]:
    """The host's IMAGE, and the solutions without their images; those of each image with the best first.

    Args:
        count: how many solutions there will be.
    """
    images, rows = host.Images(count), []
    for solution in solutions:
        images.add(solution.image)
        rows.append(replace(solution, image=torch.empty(0)).each_noise(host.store))  # one copy of an image is enough
    order = ranking(rows)
    return images.all(order), [rows[row] for row in order]


def _outputs(
    images: Tensor, found: list[Solution], generator: Generator, report: dict[str, Any], summary: Any
) -> io.NodeOutput:
    """The outputs of a search."""
    small = host.give_images(_same_size([solution.downscaled for solution in found]))
    residual = host.give_images(_same_size([(solution.residual + 0.5).clamp(0, 1) for solution in found]))
    latent = host.give_latent(latent_from_solutions(found, generator, reports.records(report)))
    return io.NodeOutput(images, small, latent, json.dumps(report, indent=2), residual, ui=summary)


def _same_size(images: list[Tensor]) -> list[Tensor]:
    """Smaller ones enlarged by repeating pixels, as a batch has one size."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    return [F.interpolate(image[None], (height, width), mode="nearest-exact")[0] for image in images]


def _passed_through(image: Tensor, generator: Generator, report: dict[str, Any]) -> io.NodeOutput:
    """The outputs if there is no face."""
    nothing = host.give_latent(Latent(torch.zeros(0, generator.num_ws, generator.w_dim)))
    summary = host.summary(["no face; the image passes through"])
    return io.NodeOutput(image, image, nothing, json.dumps(report), torch.full_like(image, 0.5), ui=summary)


def _summary(found: list[Solution]) -> list[str]:
    """The first line on the node, if there are several solutions."""
    converged, steps = sum(solution.converged for solution in found), sum(solution.steps for solution in found)
    mean = sum(solution.residual_face for solution in found) / len(found)
    return [f"{converged} of {len(found)} found in {steps} steps, mean residual {mean:.3f}"] if len(found) > 1 else []


def _lines(found: list[Solution], targets: list[Target]) -> list[str]:
    """One line for each solution."""
    return [
        f"{number}: {solution.summary} "
        f"({solution.steps} steps, seed {solution.seed}, {targets[solution.index].summary})"
        for number, solution in enumerate(found, 1)
    ]


def _report(found: list[Solution], targets: list[Target], generator: Generator, config: SearchConfig) -> dict[str, Any]:
    """Plain data for the report, the saved pictures and the saved latents."""
    rows = [
        {"image": solution.index, **targets[solution.index].metadata, **solution.metadata(config.eps)}
        for solution in found
    ]
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}
    return {"notice": NOTICE, **generator.identity, "images": rows, "settings": settings}

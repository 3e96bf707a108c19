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

from ..pulse_core.errors import SettingError
from ..pulse_core.faces.sizes import AUTO, to_lr, with_border
from ..pulse_core.faces.sizes import lr_size as size_for
from ..pulse_core.gaussian import LatentGaussian, gaussian_for
from ..pulse_core.images import NOTICE
from ..pulse_core.latent_search.config import PRESETS, RECOMMENDED, SearchConfig
from ..pulse_core.latent_search.loop import solutions
from ..pulse_core.latent_search.solution import Solution, ranking
from ..pulse_core.latents import count_seeds
from ..pulse_core.saved_latents import Latent, latent_of
from . import host, reports, sockets

if TYPE_CHECKING:
    from ..pulse_core.degradations import Degradation
    from ..pulse_core.generators import Generator

# Settings of a search, in their order on the node; new ones go to the end, where saved workflows do not miss them.
_EVERYDAY = ("steps", "starts", "eps")
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
        start_latent: Any = None,
        seeds: str = _SEEDS[0],
        **widgets: Any,
    ) -> io.NodeOutput:
        config, node = _config(preset, widgets, settings or {}), cls.hidden.unique_id
        with host.gradients():
            at_a_time = config.batch_size if config.candidates == 1 else 1
            at_a_time = min(max(at_a_time, 1), len(image) * config.starts)  # 0 takes what is free
            generator, progress = host.on_device(stylegan, at_a_time), host.Progress(preview_every, node)
            targets = _targets(image, faces, lr_size, generator)
            if faces is not None and not targets:
                host.show_text(node, "no face; the image passes through")
                nothing = host.give_latent(Latent(torch.zeros(0, generator.num_ws, generator.w_dim)))
                report, left = _report([], generator, config, degradation), torch.full_like(image, 0.5)
                return io.NodeOutput(image, image, nothing, json.dumps(report), left)
            fit = _fit(gaussian, generator, class_label, progress)
            options: dict[str, Any] = {
                "seed": _seeds(seed, seeds, len(targets), config.starts),
                "degradation": _degradations(faces, degradation),
                "start": None if start_latent is None else host.take_latent(start_latent),
                "on_step": progress.step,
                "make_room": partial(host.make_room, generator),
            }
            images, found = _collect(
                solutions(generator, targets, fit, config, **options), len(targets) * config.starts
            )
        report = _report(found, generator, config, degradation)
        host.show_lines(node, [*_summary(found), *(_line(number, each) for number, each in enumerate(found, 1))])
        host.note_in_pictures(cls.hidden.extra_pnginfo, node, report)
        small = host.give_images(_same_size([solution.downscaled for solution in found]))
        left = host.give_images(_same_size([(solution.residual + 0.5).clamp(0, 1) for solution in found]))
        text = json.dumps(report, indent=2)
        latent = host.give_latent(latent_of(found, generator, reports.facts_of_each(text, len(found))))
        return io.NodeOutput(images, small, latent, text, left)


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
                tooltip="Pixels a side that the result is matched at. 0: the image as it is, or, with faces, what "
                "each has in its photograph (16, 32, 64, ...).",
            )
        ),
        sockets.Faces.Input(
            "faces",
            optional=True,
            tooltip="From PULSE Align Faces, with its aligned faces as image: each is matched at its own size.",
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
            tooltip="From PULSE Degradation: what else happened to the image. It joins the forward operator; the "
            "result is free of it.",
        ),
        sockets.StyleGANLatent.Input(
            "start_latent",
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
            "with the one that follows (after those of its starts), and so on.",
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
    return fit.each(host.plain)


def _targets(image: Tensor, faces: Any, lr_size: int, generator: Generator) -> list[Tensor]:
    """[3, h, w] each: the images as they are, or of the size that is asked for or that the faces have."""
    if faces is None:
        sizes = [lr_size] * len(image)
    else:
        sizes = [lr_size or size_for(face.side, generator.size[1]) for face in host.known_faces(faces)]
        if sizes and len(sizes) != len(image):
            raise SettingError(
                f"There are {len(image)} images and {len(sizes)} faces.",
                "the aligned faces of PULSE Align Faces as image, together with their faces.",
                "connect both outputs of the same node.",
            )
    pairs = zip(host.frames(image), sizes, strict=False)  # without any face the image is only a stand-in
    return [to_lr(frame, size, generator.size) if size else frame for frame, size in pairs]


def _degradations(faces: Any, degradation: Degradation | None) -> Degradation | list[Degradation | None] | None:
    """The same for all images; of faces one each, which hides what lies beyond the border of its photograph."""
    if faces is None:
        return degradation
    known = host.known_faces(faces)
    return [with_border(face, known.sources[face.picture], degradation) for face in known]


def _same_size(images: list[Tensor]) -> list[Tensor]:
    """Smaller ones with each pixel repeated; sizes of faces are powers of two."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    return [F.interpolate(image[None], (height, width), mode="nearest-exact")[0] for image in images]


def _seeds(first: int, seeds: str, images: int, starts: int) -> int | list[int]:
    """The first seed of each image."""
    return first if seeds == _SEEDS[0] else count_seeds(first, images * starts)[::starts]


def _collect(found: Iterable[Solution], count: int) -> tuple[Tensor, list[Solution]]:
    """The images as the host's IMAGE, and what is told of them; the solutions of each image by their score."""
    images, rows = host.Images(count), []
    for solution in found:
        images.add(solution.image)
        rows.append(replace(solution, image=torch.empty(0)).each_noise(host.store))  # one copy of an image is enough
    order = ranking(rows)
    return images.all(order), [rows[row] for row in order]


def _summary(found: list[Solution]) -> list[str]:
    """The first line on the node, where there are several."""
    good, steps = sum(solution.converged for solution in found), sum(solution.steps for solution in found)
    mean = sum(solution.residual_face for solution in found) / len(found)
    return [f"{good} of {len(found)} found in {steps} steps, mean residual {mean:.3f}"] if len(found) > 1 else []


def _line(number: int, solution: Solution) -> str:
    height, width = solution.downscaled.shape[-2:]
    return f"{number}: {solution.told} ({solution.steps} steps, seed {solution.seed}, {width}x{height})"


def _report(
    found: list[Solution], generator: Generator, config: SearchConfig, degradation: Degradation | None
) -> dict[str, Any]:
    """What was found, of what, and how: for the report, the saved pictures and the saved latents."""
    rows = [
        {"image": solution.index, "lr_size": solution.downscaled.shape[-1], **solution.facts(config.eps)}
        for solution in found
    ]
    how = {"settings": asdict(config), "degradation": None if degradation is None else str(degradation)}
    return {"notice": NOTICE, **generator.identity, "images": rows, **how}

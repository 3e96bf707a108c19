"""The socket types that the nodes share, and the widgets of settings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from comfy_api.latest import io

from ..pulse_core.latents.spaces import SEEDS
from ..pulse_core.settings import Settings

CATEGORY = "PULSE"
# Of widgets whose values are not turned by hundredths.
_STEPS = {"eps": 0.0001, "enlarge": 0.5, "sigma_start": 0.001, "sigma_end": 0.001}


def advanced(widget: Any) -> Any:
    """The widget, marked as advanced: the front end hides it until "Show Advanced" in the node's menu."""
    widget.extra_dict = {**(widget.extra_dict or {}), "advanced": True}
    return widget


def widgets(kind: type[Settings], everyday: tuple[str, ...], seldom: tuple[str, ...] = ()) -> list[Any]:
    """The widgets of some settings; the seldom needed ones are advanced."""
    return [*(widget(kind, name) for name in everyday), *(advanced(widget(kind, name)) for name in seldom)]


def widget(kind: type[Settings], name: str, *, optional: bool = False) -> Any:
    """The widget of one setting, described by the setting itself.

    Args:
        optional: for those that are appended once workflows with the node were saved.
    """
    item = next(item for item in fields(kind) if item.name == name)
    meta, default = item.metadata, item.default
    tooltip = f"{meta['help'][0].upper()}{meta['help'][1:]}." + (f" Unit: {meta['unit']}." if meta["unit"] else "")
    metadata: dict[str, Any] = {"default": default, "tooltip": tooltip, "optional": optional}
    if meta["choices"]:
        return io.Combo.Input(name, options=list(meta["choices"]), **metadata)
    if isinstance(default, str):
        return io.String.Input(name, **metadata)
    if isinstance(default, int):
        return io.Int.Input(name, min=int(meta["low"]), max=int(meta["high"]), **metadata)
    step = _STEPS.get(name, 0.01)
    return io.Float.Input(name, min=meta["low"], max=meta["high"], step=step, round=step / 100, **metadata)


def seed(tooltip: str, *, changes: bool = True) -> io.Int.Input:
    """The seed widget.

    Args:
        changes: whether the front end may change it after each run.
    """
    return io.Int.Input("seed", default=0, min=0, max=SEEDS - 1, control_after_generate=changes, tooltip=tooltip)


def report(tooltip: str) -> Any:
    """The input for the report of a search."""
    return io.String.Input("report", optional=True, force_input=True, tooltip=tooltip)


def class_label() -> io.Int.Input:
    """The widget for the class of a conditional generator."""
    return advanced(
        io.Int.Input(
            "class_label",
            default=-1,
            min=-1,
            max=100_000,
            optional=True,
            tooltip="For conditional generators: the class, from 0; -1: all classes. For other generators: -1.",
        )
    )


# A generator with the interface of NVlabs' G_ema; the existing StyleGAN pack's sockets have the same names.
StyleGAN = io.Custom("STYLEGAN")
# Style vectors ws, [B, num_ws, w_dim], as other packs have them; host.take_latent reads the whole latent of ours.
StyleGANLatent = io.Custom("STYLEGAN_LATENT")
# pulse_core's Faces: the faces of a batch of pictures.
Faces = io.Custom("FACES")
# Search settings by their names in SearchConfig.
SearchSettings = io.Custom("PULSE_SEARCH_SETTINGS")
# A pulse_core Degradation: what happened to a picture.
Degradation = io.Custom("DEGRADATION")
# A pulse_core LatentGaussian.
LatentGaussian = io.Custom("LATENT_GAUSSIAN")

"""The socket types that the nodes share, and the widgets of settings."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..pulse_core.latents.spaces import SEEDS
from ..pulse_core.settings import Option, Settings, Widget, options
from . import offers

CATEGORY = "PULSE"


def widgets(kind: type[Settings], *places: Widget) -> list[Any]:
    """The widgets of the settings in these places, in the order of the dataclass; see `settings.option`."""
    return [_widget(each) for place in places for each in options(kind) if each.widget == place]


def _widget(setting: Option) -> Any:
    tooltip = f"{setting.help[0].upper()}{setting.help[1:]}." + (f" Unit: {setting.unit}." if setting.unit else "")
    described: dict[str, Any] = {
        "default": setting.default,
        "tooltip": tooltip,
        "optional": setting.widget in ("appended", "last"),
    }
    limits: dict[str, Any] = {"min": setting.low, "max": setting.high}
    made: Any
    if setting.choices:
        made = io.Combo.Input(setting.name, options=list(setting.choices), **described)
    elif setting.kind is int:
        made = io.Int.Input(setting.name, **limits, **described)
    elif setting.kind is float:
        made = io.Float.Input(setting.name, **limits, step=setting.step, round=setting.step / 100, **described)
    else:
        made = io.String.Input(setting.name, **described)
    return offers.advanced(made) if setting.widget == "advanced" else made


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
    return offers.advanced(
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

"""PULSESearchSettings."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..pulse_core.latent_search.config import SearchConfig
from . import sockets

_SETTINGS = (
    "prior",
    "init",
    "offset_std",
    "sigma_start",
    "sigma_end",
    "background_weight",
    "candidates",
    "trial_steps",
    "full_every",
    "recompute",
)


class PULSESearchSettingsNode(io.ComfyNode):
    """-> settings of a search that are seldom needed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PULSESearchSettings",
            display_name="PULSE Search Settings",
            category=sockets.CATEGORY,
            description="The prior of PULSE Search, where it starts, what it weighs, and how it saves time and memory. "
            "The values are the recommended ones.",
            inputs=sockets.widgets(SearchConfig, _SETTINGS),
            outputs=[
                sockets.SearchSettings.Output("search_settings", display_name="settings", tooltip="For PULSE Search.")
            ],
        )

    @classmethod
    def execute(cls, **settings: Any) -> io.NodeOutput:
        SearchConfig(**settings)  # what is out of range is told here
        return io.NodeOutput(settings)

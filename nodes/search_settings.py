"""PULSESearchSettings."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..pulse_core.latent_search.config import SearchConfig
from . import offers, sockets


class PULSESearchSettingsNode(io.ComfyNode):
    """-> rarely needed settings of a search."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSESearchSettings",
            display_name="PULSE Search Settings",
            category=sockets.CATEGORY,
            description="Settings of PULSE Search for its prior, initialisation, noise schedule and weights, and for "
            "time and memory. The defaults are the recommended values.",
            inputs=sockets.widgets(SearchConfig, "settings"),
            outputs=[
                sockets.SearchSettings.Output("search_settings", display_name="settings", tooltip="For PULSE Search.")
            ],
        )

    @classmethod
    def execute(cls, **settings: Any) -> io.NodeOutput:
        SearchConfig(**settings)  # raises if a value is out of range
        return io.NodeOutput(settings)

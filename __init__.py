"""ComfyUI-PULSE: face upsampling by latent-space exploration. ComfyUI imports this file; nothing runs until it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import PulseExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> PulseExtension:
    """What ComfyUI calls to get the nodes."""
    from .nodes import PulseExtension

    return PulseExtension()

"""ComfyUI-PULSE: face upsampling by latent-space exploration. ComfyUI imports this file; nothing runs until it asks."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """What ComfyUI calls to get the nodes."""
    from .nodes import PulseExtension

    return PulseExtension()

"""What newer versions of ComfyUI offer and older ones lack: used where it is there, left out where it is not."""

from __future__ import annotations

from inspect import signature
from typing import Any

from comfy_api.latest import io

# Fields of io.Schema that 0.3.64 does not have.
_NEWER = ("search_aliases", "essentials_category", "has_intermediate_output")
IMAGE_TOOLS = "Image Tools"  # a tab of the host's node library


def schema(**fields: Any) -> io.Schema:
    """io.Schema without those of the newer fields that this host does not know."""
    known = signature(io.Schema).parameters
    return io.Schema(**{name: value for name, value in fields.items() if name in known or name not in _NEWER})


def advanced(widget: Any) -> Any:
    """The widget, marked as advanced: the front end hides it until the user asks for such widgets."""
    if hasattr(widget, "advanced"):  # newer hosts
        widget.advanced = True
    else:
        widget.extra_dict = {**(widget.extra_dict or {}), "advanced": True}
    return widget


def has_slider() -> bool:
    """Whether the host has a widget that compares two images with a slider."""
    return hasattr(io, "ImageCompare")


def slider(name: str, tooltip: str) -> list[Any]:
    """The comparison slider as the only item, or no item; its values are the node's a_images and b_images."""
    return [io.ImageCompare.Input(name, optional=True, tooltip=tooltip)] if has_slider() else []


def boxes(name: str, tooltip: str) -> Any:
    """An input for bounding boxes. Hosts compare types by name, so it also exists where io.BoundingBox does not."""
    # without forceInput, newer front ends make it a widget that always holds a box
    return io.Custom("BOUNDING_BOX").Input(name, optional=True, tooltip=tooltip, extra_dict={"forceInput": True})

"""The pack's own files: names as the families have them, settings as JSON in the metadata."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from ...checkpoints.stored import Stored
from ...errors import CheckpointError
from .places import marked

FAMILY, SETTINGS = "family", "config"
BESIDE = ()


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the family in the metadata, which `convert` and `fetch` write; a MobileStyleGAN by its names as well."""
    return {""} if FAMILY in metadata else marked(names, ("synthesis.block0.conv0.depthwise",))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """Nothing to rename."""
    text = metadata.get(SETTINGS, "{}")
    try:
        settings = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):  # no JSON, an integer of too many digits, nested too deeply
        settings = None
    if not isinstance(settings, dict):
        raise CheckpointError(
            f"The metadata entry {SETTINGS!r} of the file is not a JSON object.",
            "a file as `python -m pulse_core convert` writes it.",
            "convert the original checkpoint again.",
        )
    return tensors, settings

"""StyleGAN1 as PULSE and lernapparat keep it: synthesis.pt and mapping.pt, or both in one file under prefixes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..stored import Stored
from .renaming import Change, rename

_MAPPING = ("g_mapping.", "mapping.")
_PREFIXES = ("g_synthesis.", "synthesis.", *_MAPPING)


def recognises(names: Collection[str], metadata: dict[str, Any]) -> bool:
    """By the constant, or by the first layer of the mapping, under any of the prefixes."""
    bare = {_bare(name) for name in names}
    return "blocks.4x4.const" in bare or "dense0.weight" in bare


def translate(tensors: Stored, metadata: dict[str, Any]) -> tuple[Stored, dict[str, Any]]:
    """mapping.dense* and synthesis.*; lernapparat's epilogues have one level more."""
    return rename(tensors, _rule), {}


def _rule(name: str) -> tuple[str, Change]:
    bare = _bare(name).replace(".top_epi.", ".")
    half = "mapping" if bare.startswith("dense") or name.startswith(_MAPPING) else "synthesis"
    return f"{half}.{bare}", None


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name

"""StyleGAN1 as PULSE and lernapparat keep it: synthesis.pt and mapping.pt, or both in one file under prefixes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...checkpoints.stored import Stored
from .places import marked
from .renaming import Change, rename

BESIDE = ()
_MAPPING = ("g_mapping.", "mapping.")
_PREFIXES = ("g_synthesis.", "synthesis.", *_MAPPING)
_FIRST = ("blocks.4x4.const", "dense0.weight")


def prefixes(names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
    """By the constant, or by the first layer of the mapping."""
    return marked(names, *((half + first,) for half in ("", *_PREFIXES) for first in _FIRST))


def translate(tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
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

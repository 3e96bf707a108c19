"""Finds the generator in a file: the prefix of its tensors' names, and its layout.

A wrapper (`g_ema`, `state_dict.decoder`, `module`) is a prefix. A generator is where a layout finds all names that
identify it. Among several generators in a file, the one with averaged weights is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...checkpoints.stored import Stored
from ...checkpoints.tree import Leaf, same_leaf
from ...errors import CheckpointError

# What programs call averaged weights.
_AVERAGED = re.compile(r".*ema|avg|average|averaged|smooth|smoothed|running|shadow|gs|polyak")

_MAX_PLACES = 100  # prefixes of generators or of halves of them


class Layout(Protocol):
    """The names of one program; each module in this folder is one.

    BESIDE: names of tensors that the program stores next to the generator, not in it.
    """

    @property
    def BESIDE(self) -> tuple[str, ...]: ...  # noqa: N802 - a constant of the module

    def prefixes(self, names: Collection[str], metadata: Mapping[str, Any]) -> set[str]:
        """The prefixes of generators in this layout."""

    def translate(self, tensors: Stored, metadata: Mapping[str, Any]) -> tuple[Stored, dict[str, Any]]:
        """A generator's tensors under this pack's names, and the settings that no tensor shows."""


@dataclass(frozen=True)
class Place:
    """A generator in a file.

    prefix: of its tensors' names; "" if there is none. others: the prefixes of the file's other generators.
    """

    prefix: str
    layout: Layout
    others: tuple[str, ...] = ()


def marked(names: Collection[str], *groups: Sequence[str]) -> set[str]:
    """The prefixes under which all names of one of these groups exist."""
    found = set()
    for first, *rest in groups:
        for name in names:
            prefix = name[: len(name) - len(first)]
            if name.endswith(first) and prefix[-1:] in ("", ".") and all(prefix + other in names for other in rest):
                found.add(prefix)
    return found


def find(layouts: Sequence[Layout], leaves: Mapping[str, Leaf], metadata: Mapping[str, Any]) -> Place | None:
    """The generator in a file; None if there is none.

    Raises:
        CheckpointError: there are several, and none or more than one has averaged weights.
    """
    found: dict[str, Layout] = {}
    for layout in layouts:
        for prefix in layout.prefixes(leaves.keys(), metadata):
            found.setdefault(prefix, layout)
    if len(found) > _MAX_PLACES:
        raise CheckpointError(
            f"The file holds {len(found):,} generators or parts of some.",
            "one generator, with copies of it at most.",
            "download the file again from a source you trust.",
        )
    outer = sorted(p for p in found if not any(p != other and p.startswith(other) for other in found))
    chosen = [prefix for prefix in outer if is_averaged(prefix)] or outer
    chosen = [p for i, p in enumerate(chosen) if not any(_same(leaves, p, other) for other in chosen[:i])]
    if not chosen:
        return None
    if len(chosen) > 1:
        raise CheckpointError(
            f"The file holds {len(chosen)} generators: {', '.join(map(_shown, chosen[:5]))}.",
            "one generator, or one whose name says that its weights are averaged (such as g_ema).",
            "save the state_dict of the one that you want, and load that.",
        )
    return Place(chosen[0], found[chosen[0]], tuple(prefix for prefix in outer if prefix != chosen[0]))


def is_averaged(prefix: str) -> bool:
    """Whether a key in the prefix says that the weights are averaged."""
    words = re.split(r"[^A-Za-z]+", prefix)
    return any(_AVERAGED.fullmatch(word.lower()) for word in words if word)


def beside(names: Collection[str], prefix: str, wanted: Sequence[str]) -> dict[str, str]:
    """Tensors next to a prefix or to its parents, nearest first: wanted name -> name in the file."""
    found = {}
    parts = prefix.removesuffix(".").split(".") if prefix else []
    arounds = [".".join(parts[:depth]) + "." if depth else "" for depth in range(len(parts) - 1, -1, -1)]
    for name in wanted:
        for around in arounds:
            if around + name in names:
                found[name] = around + name
                break
    return found


def _same(leaves: Mapping[str, Leaf], one: str, other: str) -> bool:
    parts = [{name[len(p) :]: leaf for name, leaf in leaves.items() if name.startswith(p)} for p in (one, other)]
    if parts[0].keys() != parts[1].keys():
        return False
    return all(same_leaf(leaf, parts[1][name]) for name, leaf in parts[0].items())


def _shown(prefix: str) -> str:
    return ascii(prefix.removesuffix(".")[:60]) if prefix else "one without a prefix"

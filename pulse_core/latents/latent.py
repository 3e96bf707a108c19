"""Latents as things to keep: style vectors with their noise, whose generator they belong to, and how they were made.

A file of them is a .safetensors: the tensors `ws` and `noise.0`, `noise.1`, ... (maps of zeros are left out), and
in its metadata the generator's name and hash, the shapes of all noise maps, and a record of each latent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import safetensors_format
from ..errors import CheckpointError, SettingError
from ..generators import Generator
from ..latent_search.solution import Solution
from ..pictures.images import NOTICE

LATENT_SUFFIX = ".latent.safetensors"
_LARGEST = 2**14  # of a noise map's sides, so that a file cannot ask for endless zeros


@dataclass(frozen=True)
class Latent:
    """Some latents of one generator.

    ws: [B, num_ws, w_dim]. noise: one [B, 1, H, W] a layer; empty where the generator's own maps belong to them.
    generator, generator_hash: its name and hash; empty where nobody knows.
    records: how each was made (seed, settings, L2, ...), one a latent; empty where nobody knows.
    """

    ws: Tensor
    noise: tuple[Tensor, ...] = ()
    generator: str = ""
    generator_hash: str = ""
    records: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.ws)

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> Latent:
        """With all its tensors changed, for example moved to a device."""
        return replace(self, ws=change(self.ws), noise=tuple(change(noise) for noise in self.noise))

    def take(self, rows: Sequence[int]) -> Latent:
        """Some of them, in this order."""
        chosen = self.map_tensors(lambda tensor: tensor[list(rows)])
        return replace(chosen, records=tuple(self.records[row] for row in rows if self.records))

    def check(self, generator: Generator) -> None:
        """That these are latents of this generator.

        Raises:
            SettingError: of another one; both are named.
        """
        theirs, ours = self.generator_hash, generator.content_hash
        if theirs and theirs != ours:
            raise SettingError(
                f"The latent is of {self.generator} ({theirs[:12]}); the generator is {generator.name} ({ours[:12]}).",
                "a latent of this very generator: another one draws something else from it.",
                f"load {self.generator}, or make the latent anew with {generator.name}.",
            )
        shape, own = tuple(self.ws.shape[1:]), (generator.num_ws, generator.w_dim)
        shapes = [tuple(noise.shape[-2:]) for noise in self.noise]
        if shape != own or (shapes and shapes != [tuple(shape) for shape in generator.noise_shapes]):
            raise SettingError(
                f"The latent of {self.generator or 'an unknown generator'} has {shape[0]} style vectors of {shape[1]} "
                f"and {len(shapes)} noise maps; {generator.name} takes {own[0]} of {own[1]} and "
                f"{len(generator.noise_shapes)} maps.",
                "a latent of this very generator.",
                "connect the generator that made it.",
            )

    def save(self, path: Path | str) -> None:
        """Writes a .safetensors file, whole or not at all."""
        maps = {f"noise.{layer}": noise for layer, noise in enumerate(self.noise) if bool(noise.any())}
        tensors = {name: part.float().cpu().contiguous() for name, part in {"ws": self.ws, **maps}.items()}
        metadata = {
            "notice": NOTICE,
            "generator": self.generator,
            "generator_hash": self.generator_hash,
            "noise_shapes": json.dumps([list(noise.shape[-2:]) for noise in self.noise]),
            "records": json.dumps(list(self.records)),
        }
        safetensors_format.write(path, tensors, metadata)

    @staticmethod
    def load(path: Path | str) -> Latent:
        """Reads what `save` wrote.

        Raises:
            CheckpointError: not such a file, or a damaged one.
        """
        stored, metadata = safetensors_format.read(Path(path))
        tensors = {name: tensor.read().float() for name, tensor in stored.items()}
        try:
            shapes, records = json.loads(metadata.get("noise_shapes", "[]")), json.loads(metadata.get("records", "[]"))
            ws = tensors.pop("ws")
            noise = tuple(_noise_map(tensors, layer, shape, len(ws)) for layer, shape in enumerate(shapes))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise _no_latent(path, stored) from error
        named = all(isinstance(metadata.get(key, ""), str) for key in ("generator", "generator_hash"))
        told = isinstance(records, list) and len(records) in (0, len(ws)) and all(isinstance(r, dict) for r in records)
        parts = (ws, *noise)
        if ws.ndim != 3 or tensors or not (named and told) or not all(bool(part.isfinite().all()) for part in parts):
            raise _no_latent(path, stored)
        return Latent(ws, noise, metadata.get("generator", ""), metadata.get("generator_hash", ""), tuple(records))


def latent_from_solutions(solutions: Sequence[Solution], generator: Generator, records: Sequence[Mapping[str, Any]]) -> Latent:
    """The latents of what a search found, with their noise."""
    return Latent(
        torch.stack([solution.ws for solution in solutions]),
        tuple(torch.stack(layer) for layer in zip(*(solution.noise for solution in solutions), strict=True)),
        generator.name,
        generator.content_hash,
        tuple(dict(record) for record in records),
    )


def _noise_map(tensors: dict[str, Tensor], layer: int, shape: Any, count: int) -> Tensor:
    """The map of one layer, taken out of the tensors; zeros where the file left it out."""
    height, width = shape
    expected = (count, 1, height, width)
    if not all(isinstance(side, int) and 0 < side <= _LARGEST for side in (height, width)):
        raise ValueError(f"noise of {shape}")
    noise = tensors.pop(f"noise.{layer}", None)
    noise = torch.zeros(expected) if noise is None else noise
    if noise.shape != expected:
        raise ValueError(f"noise of {list(noise.shape)}")
    return noise


def _no_latent(path: Path | str, stored: Mapping[str, Any]) -> CheckpointError:
    held = ", ".join(f"{name[:40]} {list(tensor.shape)}" for name, tensor in sorted(stored.items())[:4]) or "nothing"
    return CheckpointError(
        f"{path} holds {held}.",
        f"saved latents ({LATENT_SUFFIX}): finite ws [B, num_ws, w_dim], the noise maps that its metadata names.",
        "choose a file that PULSE Save Latent wrote.",
    )

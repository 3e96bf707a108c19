"""Saved latents: style vectors with their noise maps, their generator, and how they were made.

The file is a .safetensors with the tensors `ws` and `noise.0`, `noise.1`, ... (maps of zeros are left out). Its
metadata has the generator's name and hash, the shapes of all noise maps, and a record of each latent.
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
from ..defaults import own_defaults
from ..errors import CheckpointError, SettingError
from ..generators import Generator
from ..limits import FLOAT, check_bytes
from ..pictures.images import NOTICE

LATENT_SUFFIX = ".latent.safetensors"
# Maps of zeros are left out of a file, so a small one may ask for much memory. The maps of a 1024x1024 StyleGAN have
# 300 times the bytes of its styles.
_ZEROS, _ALWAYS = 1024, 256 << 20  # bytes of zeros for each byte of the file; and as many for any file


@dataclass(frozen=True)
class Latent:
    """A batch of latents of one generator.

    ws: [B, num_ws, w_dim].
    noise: one map [B, 1, H, W] per layer; empty for the generator's stored maps.
    generator, generator_hash: its name and hash; empty if unknown.
    records: how each latent was made (seed, settings, L2, ...); empty if unknown.
    """

    ws: Tensor
    noise: tuple[Tensor, ...] = ()
    generator: str = ""
    generator_hash: str = ""
    records: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.ws)

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> Latent:
        """A copy with the function applied to every tensor, for example to move it to a device."""
        return replace(self, ws=function(self.ws), noise=tuple(function(noise) for noise in self.noise))

    def take(self, rows: Sequence[int]) -> Latent:
        """Selects rows, in this order."""
        chosen = self.map_tensors(lambda tensor: tensor[list(rows)])
        return replace(chosen, records=tuple(self.records[row] for row in rows if self.records))

    def check(self, generator: Generator) -> None:
        """Checks that these latents belong to a generator.

        Raises:
            SettingError: they belong to another one; the message names both.
        """
        theirs, ours = self.generator_hash, generator.content_hash
        if theirs and theirs != ours:
            raise SettingError(
                f"The latent is of {self.generator} ({theirs[:12]}); the generator is {generator.name} ({ours[:12]}).",
                "a latent of the same generator; any other renders a different image from it.",
                f"load {self.generator}, or make the latent again with {generator.name}.",
            )
        shape, own = tuple(self.ws.shape[1:]), (generator.num_ws, generator.w_dim)
        shapes = [tuple(noise.shape[-2:]) for noise in self.noise]
        if shape != own or (shapes and shapes != [tuple(shape) for shape in generator.noise_shapes]):
            raise SettingError(
                f"The latent of {self.generator or 'an unknown generator'} has {shape[0]} style vectors of {shape[1]} "
                f"and {len(shapes)} noise maps; {generator.name} takes {own[0]} of {own[1]} and "
                f"{len(generator.noise_shapes)} maps.",
                "a latent of the same generator.",
                "connect the generator that made it.",
            )

    def save(self, path: Path | str) -> None:
        """Writes a .safetensors file, atomically."""
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
    @own_defaults
    def load(path: Path | str) -> Latent:
        """Reads a file written by `save`.

        Raises:
            CheckpointError: another kind of file, or a damaged one.
        """
        stored, metadata = safetensors_format.load(Path(path))
        tensors = {name: tensor.read().float() for name, tensor in stored.items()}
        try:
            shapes, records = json.loads(metadata.get("noise_shapes", "[]")), json.loads(metadata.get("records", "[]"))
            ws = tensors.pop("ws")
            _check_zeros(path, shapes, len(ws), tensors)
            noise = tuple(_noise_map(tensors, layer, shape, len(ws)) for layer, shape in enumerate(shapes))
        except (CheckpointError, SettingError):
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise _latent_error(path, stored) from error
        has_names = all(isinstance(metadata.get(key, ""), str) for key in ("generator", "generator_hash"))
        has_records = (
            isinstance(records, list) and len(records) in (0, len(ws)) and all(isinstance(r, dict) for r in records)
        )
        parts = (ws, *noise)
        if (
            ws.ndim != 3
            or tensors
            or not (has_names and has_records)
            or not all(bool(part.isfinite().all()) for part in parts)
        ):
            raise _latent_error(path, stored)
        return Latent(ws, noise, metadata.get("generator", ""), metadata.get("generator_hash", ""), tuple(records))


def _check_zeros(path: Path | str, shapes: Any, count: int, tensors: Mapping[str, Tensor]) -> None:
    """Checks the shapes of a file's noise maps, and the bytes of those that it leaves out.

    Raises:
        ValueError, TypeError: these are no shapes.
        CheckpointError: it leaves out more than such a small file can have.
    """
    zeros = 0
    for layer, (height, width) in enumerate(shapes):
        if not all(type(side) is int and side > 0 for side in (height, width)):
            raise ValueError(f"noise of {height} x {width}")
        zeros += 0 if f"noise.{layer}" in tensors else count * height * width * FLOAT
    size = Path(path).stat().st_size
    if zeros > _ALWAYS + _ZEROS * size:
        raise CheckpointError(
            f"{path} has {size:,} bytes, and declares {zeros / 2**30:.1f} GiB of noise maps that are zero.",
            f"up to {(_ALWAYS + _ZEROS * size) / 2**30:.1f} GiB for a file of this size.",
            "choose a file written by PULSE Save Latent.",
        )
    check_bytes(zeros, f"{path}: its noise maps", "pick fewer latents before saving them.")


def _noise_map(tensors: dict[str, Tensor], layer: int, shape: Any, count: int) -> Tensor:
    """Removes the map of one layer from the tensors; zeros if the file left it out."""
    expected = (count, 1, *shape)
    noise = tensors.pop(f"noise.{layer}", None)
    noise = torch.zeros(expected) if noise is None else noise
    if noise.shape != expected:
        raise ValueError(f"noise of {list(noise.shape)}")
    return noise


def _latent_error(path: Path | str, stored: Mapping[str, Any]) -> CheckpointError:
    held = ", ".join(f"{name[:40]} {list(tensor.shape)}" for name, tensor in sorted(stored.items())[:4]) or "nothing"
    return CheckpointError(
        f"{path} holds {held}.",
        f"saved latents ({LATENT_SUFFIX}): finite ws [B, num_ws, w_dim], and the noise maps that its metadata lists.",
        "choose a file written by PULSE Save Latent.",
    )

"""Interpolation between latents in W+, and style mixing (StyleGAN, Karras et al. 2019, section 3.1)."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from einops import repeat
from torch import Tensor

from .. import interrupts
from ..defaults import own_numbers
from ..errors import SettingError
from ..limits import FLOAT, check_bytes
from .latent import Latent


@own_numbers
def blend(a: Latent, b: Latent, weight: float, first_layer: int = 0, last_layer: int = -1, frames: int = 1) -> Latent:
    """Interpolates from `a` to `b` in a range of layers; the other layers stay those of `a`.

    ws_l = (1 - t) a_l + t b_l. A noise map has the t of the style at the same relative depth, and keeps its variance:
    ((1 - t) a + t b) / sqrt((1 - t)^2 + t^2). If only one of the two has noise, it is used unchanged.

    Args:
        a, b: equally many latents, or one on one side for all of the other.
        weight: t; 0 is `a`, 1 is `b`. Values outside 0..1 extrapolate.
        first_layer, last_layer: a range of style layers, inclusive, from 0 (coarsest); negative from the end.
        frames: latents per pair, with t linearly spaced from 0 to `weight`; 1 means `weight` alone.

    Raises:
        SettingError: latents of two generators, numbers that do not match, no such layers, or more frames than fit
            into memory.
    """
    _check_pair(a, b)
    num_ws, count = a.ws.shape[1], max(len(a), len(b))
    _check_room(a, b, count * frames)
    is_blended = torch.zeros(num_ws, dtype=torch.float32)
    is_blended[_layer_range(first_layer, last_layer, num_ws)] = 1
    t = torch.linspace(0 if frames > 1 else weight, weight, frames, dtype=torch.float32)
    t_by_layer = (t.repeat(count)[:, None] * is_blended).to(a.ws)  # [count * frames, num_ws]
    ws = _expand(a.ws, count, frames).lerp(_expand(b.ws.to(a.ws), count, frames), t_by_layer[:, :, None])
    noise = (
        _blend_noise(a, b, t_by_layer, frames)
        if a.noise and b.noise
        else _expand_noise(a.noise or b.noise, count, frames)
    )
    known = a if a.generator_hash else b
    return replace(known, ws=ws, noise=noise, records=_blend_records(a, b, count, t.tolist(), first_layer, last_layer))


def _check_pair(a: Latent, b: Latent) -> None:
    both = (a.generator_hash, b.generator_hash)
    if (all(both) and both[0] != both[1]) or a.ws.shape[1:] != b.ws.shape[1:]:
        names = [f"{each.generator or 'unknown'} ({each.generator_hash[:12] or 'no hash'})" for each in (a, b)]
        raise SettingError(
            f"One latent is of {names[0]}, the other of {names[1]}.",
            "two latents of one generator.",
            "make both with the same generator.",
        )
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise SettingError(
            f"There are {len(a)} latents on one side and {len(b)} on the other.",
            "equally many on both sides, or one on one side.",
            "select as many on both sides.",
        )


def _check_room(a: Latent, b: Latent, frames: int) -> None:
    """Raises SettingError if so many frames do not fit into memory; three copies of a map are alive at a time."""
    maps = [prod(layer.shape[1:]) for layer in a.noise or b.noise]
    each = prod(a.ws.shape[1:]) + sum(maps) + (2 * max(maps) if a.noise and b.noise else 0)
    what = f"{frames} blended latents of {each:,} numbers"
    check_bytes(frames * each * FLOAT, what, "blend fewer frames or latents, or latents without noise maps.")


def _layer_range(first: int, last: int, count: int) -> slice:
    low, high = (layer + count if layer < 0 else layer for layer in (first, last))
    if not 0 <= low <= high < count:
        raise SettingError(
            f"The layers are {first} to {last}; the latent has {count}.",
            f"0 to {count - 1}, or -{count} to -1 from the end, with the first not after the last.",
            "0 and -1 blend all layers.",
        )
    return slice(low, high + 1)


def _expand(tensor: Tensor, count: int, frames: int) -> Tensor:
    """Repeats each of `count` rows for its frames; a single row counts for all."""
    return repeat(tensor.expand(count, *tensor.shape[1:]), "b ... -> (b frames) ...", frames=frames)


def _expand_noise(noise: tuple[Tensor, ...], count: int, frames: int) -> tuple[Tensor, ...]:
    return tuple(_expand(layer, count, frames) for layer in noise)


def _blend_noise(a: Latent, b: Latent, t_by_layer: Tensor, frames: int) -> tuple[Tensor, ...]:
    """Blends noise map i with the t of the style at the same relative depth."""
    layers, blended = len(a.noise), []
    for layer, (mine, theirs) in enumerate(interrupts.each(zip(a.noise, b.noise, strict=True))):
        t = t_by_layer[:, layer * t_by_layer.shape[1] // layers].reshape(-1, 1, 1, 1)
        count = len(t_by_layer) // frames
        mixed = (1 - t) * _expand(mine, count, frames) + t * _expand(theirs.to(mine), count, frames)
        blended.append(mixed / ((1 - t).square() + t.square()).sqrt())
    return tuple(blended)


def _blend_records(a: Latent, b: Latent, count: int, weights: list[float], first: int, last: int) -> tuple[dict, ...]:
    """The record of each blended latent: its parents' records and the settings."""
    parents = [[each.records[row % len(each)] if each.records else None for each in (a, b)] for row in range(count)]
    return tuple(
        {"blend": pair, "weight": round(weight, 6), "first_layer": first, "last_layer": last}
        for pair in parents
        for weight in weights
    )

"""Between latents: interpolation in W, and style mixing, which takes some layers from another (Karras et al. 2019)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import SettingError
from .latent import Latent


def blend(a: Latent, b: Latent, weight: float, first_layer: int = 0, last_layer: int = -1, frames: int = 1) -> Latent:
    """From `a` towards `b` in some layers; the others stay those of `a`.

    ws_l = (1 - t) a_l + t b_l. Noise maps go with the styles at their place, and keep their variance:
    ((1 - t) a + t b) / sqrt((1 - t)^2 + t^2). Where only one of the two has noise of its own, that is kept.

    Args:
        a, b: as many each, or one of either for all of the other.
        weight: t; 0 is `a`, 1 is `b`. Beyond 0..1 it goes on in the same direction.
        first_layer, last_layer: style layers, both included, from 0 (the coarsest); negative ones count from the end.
        frames: latents for each pair, t rising in even steps from 0 to `weight`; 1 is `weight` alone.

    Raises:
        SettingError: latents of two generators, another number of them, or no such layers.
    """
    _check_pair(a, b)
    num_ws, count = a.ws.shape[1], max(len(a), len(b))
    chosen = torch.zeros(num_ws)
    chosen[_layers(first_layer, last_layer, num_ws)] = 1
    t = torch.linspace(0, weight, frames) if frames > 1 else torch.tensor([weight])
    shares = (t.repeat(count)[:, None] * chosen).to(a.ws)  # [count * frames, num_ws]
    ws = _pairs(a.ws, count, frames).lerp(_pairs(b.ws.to(a.ws), count, frames), shares[:, :, None])
    noise = _noise(a, b, shares, frames) if a.noise and b.noise else _repeated(a.noise or b.noise, count, frames)
    known = a if a.generator_hash else b
    return replace(known, ws=ws, noise=noise, records=_records(a, b, count, t.tolist(), first_layer, last_layer))


def _check_pair(a: Latent, b: Latent) -> None:
    both = (a.generator_hash, b.generator_hash)
    if (all(both) and both[0] != both[1]) or a.ws.shape[1:] != b.ws.shape[1:]:
        names = [f"{each.generator or 'unknown'} ({each.generator_hash[:12] or 'no hash'})" for each in (a, b)]
        raise SettingError(
            f"One latent is of {names[0]}, the other of {names[1]}.",
            "two latents of one generator.",
            "make one of them anew.",
        )
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise SettingError(
            f"There are {len(a)} latents on one side and {len(b)} on the other.",
            "as many on both, or one on one side.",
            "give as many.",
        )


def _layers(first: int, last: int, count: int) -> slice:
    low, high = (layer + count if layer < 0 else layer for layer in (first, last))
    if not 0 <= low <= high < count:
        raise SettingError(
            f"The layers are {first} to {last}; the latent has {count}.",
            f"a first and a last one of 0 to {count - 1}, or -{count} to -1, the first not after the last.",
            "0 and -1 are all of them.",
        )
    return slice(low, high + 1)


def _pairs(tensor: Tensor, count: int, frames: int) -> Tensor:
    """Each row `frames` times, one row for all where there is only one."""
    return tensor.expand(count, *tensor.shape[1:]).repeat_interleave(frames, 0)


def _repeated(noise: tuple[Tensor, ...], count: int, frames: int) -> tuple[Tensor, ...]:
    return tuple(_pairs(layer, count, frames) for layer in noise)


def _noise(a: Latent, b: Latent, shares: Tensor, frames: int) -> tuple[Tensor, ...]:
    """Map i goes with the style at the same place from coarse to fine."""
    layers, blended = len(a.noise), []
    for layer, (mine, theirs) in enumerate(zip(a.noise, b.noise, strict=True)):
        t = shares[:, layer * shares.shape[1] // layers].reshape(-1, 1, 1, 1)
        count = len(shares) // frames
        mixed = (1 - t) * _pairs(mine, count, frames) + t * _pairs(theirs.to(mine), count, frames)
        blended.append(mixed / ((1 - t).square() + t.square()).sqrt())
    return tuple(blended)


def _records(a: Latent, b: Latent, count: int, weights: list[float], first: int, last: int) -> tuple[dict, ...]:
    """What each was blended of."""
    parents = [[each.records[row % len(each)] if each.records else None for each in (a, b)] for row in range(count)]
    return tuple(
        {"blend": pair, "weight": round(weight, 6), "first_layer": first, "last_layer": last}
        for pair in parents
        for weight in weights
    )

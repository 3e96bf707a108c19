"""The settings of a search, each with its unit, its range and what it does.

The command line, the nodes and their help read these fields, so that each is described once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import SettingError
from ..latents import LATENT_SPACES, NOISE_MODES
from ..losses import parse_loss
from .optimizers import OPTIMIZERS
from .schedules import SCHEDULES


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field that carries its own description; low and high are inclusive."""
    return field(default=default, metadata={"help": help, "unit": unit, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class SearchConfig:
    """What a search does. The defaults are the published ones (Menon et al. 2020 and its code).

    Raises:
        SettingError: a value outside its range or choices.
    """

    steps: int = option(100, "gradient steps; more find a closer match", unit="steps", low=1, high=100_000)
    eps: float = option(
        2e-3,
        "an image counts as found when its downscaling is this close to the input; the L2 loss pulls no further",
        unit="mean squared error, colours in 0..1",
        low=0.0,
        high=1.0,
    )
    loss: str = option("100*L2+0.05*GEOCROSS", "what is minimised: weight*TERM+weight*TERM; terms L2, L1, GEOCROSS")
    optimizer: str = option("adam", "how the gradient is followed", choices=tuple(OPTIMIZERS))
    learning_rate: float = option(0.4, "the largest step of the schedule", unit="per step", low=1e-6, high=100.0)
    schedule: str = option("linear1cycledrop", "how the learning rate runs", choices=tuple(SCHEDULES))
    noise: str = option(
        "trainable", "search the first noise maps too, keep them as drawn, or none", choices=NOISE_MODES
    )
    trainable_noise_layers: int = option(5, "how many noise maps are searched", unit="layers", low=0, high=100)
    zero_noise_layers: tuple[int, ...] = option((-1,), "noise maps that stay zero; negative counts from the last")
    latent_space: str = option("W+", "one latent a layer (W+) or one for all (W)", choices=LATENT_SPACES)
    starts: int = option(1, "different solutions for each input, from the seeds seed, seed + 1, ...", low=1, high=1000)
    batch_size: int = option(
        1,
        "images searched at the same time; 1 gives bit for bit what each image gives alone, more is faster on a GPU",
        unit="images",
        low=1,
        high=256,
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item.name, getattr(self, item.name), item.metadata)
        parse_loss(self.loss)


def _check(name: str, value: Any, meta: Any) -> None:
    low, high, choices = meta["low"], meta["high"], meta["choices"]
    if choices is not None and value not in choices:
        raise SettingError(f"{name} is {value!r}.", f"one of {', '.join(choices)}.", "choose one of these.")
    if low is not None and not (math.isfinite(value) and low <= value <= high):
        unit = f" ({meta['unit']})" if meta["unit"] else ""
        raise SettingError(f"{name} is {value}.", f"{low} to {high}{unit}.", f"set {name} inside this range.")

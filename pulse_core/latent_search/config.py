"""The settings of a search, each with its unit, its range and what it does."""

from __future__ import annotations

from dataclasses import dataclass

from ..latents import LATENT_SPACES, NOISE_MODES
from ..losses import parse_loss
from ..settings import Settings, option
from .optimizers import OPTIMIZERS
from .schedules import SCHEDULES


@dataclass(frozen=True)
class SearchConfig(Settings):
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
        super().__post_init__()
        parse_loss(self.loss)

"""The settings of a search, each with its unit, its range and what it does, and the presets that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SettingError
from ..latents import LATENT_SPACES, NOISE_MODES
from ..losses import parse_loss
from ..settings import Settings, option
from .optimizers import OPTIMIZERS
from .priors import PRIORS
from .schedules import SCHEDULES

# guess: what the generator's start regression makes of the picture, where it has one. prior: no look at the picture.
BEGINNINGS = ("guess", "prior")


RECOMPUTE = ("auto", "always", "never")


@dataclass(frozen=True)
class SearchConfig(Settings):
    """What a search does. The defaults are the recommended ones; `PRESETS` has them and the published ones.

    Raises:
        SettingError: a value outside its range or choices, or values that do not go together.
    """

    steps: int = option(100, "gradient steps; more find a closer match", unit="steps", low=1, high=100_000)
    eps: float = option(
        1e-3,
        "an image counts as found when its downscaling is this close to the input; the L2 loss pulls no further",
        unit="mean squared error, colours in 0..1",
        low=0.0,
        high=1.0,
    )
    loss: str = option(
        "1*MSE", "what is minimised: weight*TERM+weight*TERM; terms MSE, L2 (pulls no further than eps), L1, GEOCROSS"
    )
    optimizer: str = option("adam", "how the gradient is followed", choices=tuple(OPTIMIZERS))
    learning_rate: float = option(0.1, "the largest step of the schedule", unit="per step", low=1e-6, high=100.0)
    schedule: str = option("hold_then_fall", "how the learning rate runs", choices=tuple(SCHEDULES))
    noise: str = option(
        "trainable", "search the first noise maps too, keep them as drawn, or none", choices=NOISE_MODES
    )
    trainable_noise_layers: int = option(7, "how many noise maps are searched", unit="layers", low=0, high=100)
    zero_noise_layers: tuple[int, ...] = option((-1,), "noise maps that stay zero; negative counts from the last")
    latent_space: str = option(
        "W+", "one latent a layer (W+), one for all (W), or W first and then W+ (staged)", choices=LATENT_SPACES
    )
    starts: int = option(1, "different solutions for each input, from the seeds seed, seed + 1, ...", low=1, high=1000)
    batch_size: int = option(
        1,
        "images searched at the same time; 1 gives bit for bit what each image gives alone, more is faster on a GPU",
        unit="images",
        low=1,
        high=256,
    )
    prior: str = option(
        "whitened",
        "what keeps the latents natural: the measured correlations of W (whitened), also the norm that latents have "
        "(shell), or a sphere of independent dimensions, as published (sphere)",
        choices=tuple(PRIORS),
    )
    beginning: str = option(
        "guess", "begin with what the picture suggests (guess), or without looking at it (prior)", choices=BEGINNINGS
    )
    layer_freedom: float = option(
        1.2,
        "how far each layer's style may leave the common one; not for the sphere",
        unit="standard deviations",
        low=0.0,
        high=10.0,
    )
    fine_falloff: float = option(
        1.0,
        "how quickly that freedom falls for layers finer than the input, whose details it cannot show: with this power "
        "of the ratio of their sizes; 0 is not at all",
        unit="power",
        low=0.0,
        high=10.0,
    )
    variety: float = option(
        1.0,
        "how far each seed is drawn to a face of its own; 1: as far as faces differ, 0: the likeliest face, smoother "
        "than natural ones; not for the sphere",
        unit="standard deviations",
        low=0.0,
        high=2.0,
    )
    first_tolerance: float = option(
        0.3,
        "the error that is tolerated at first, so that the face is natural before it is exact; not for the sphere",
        unit="standard deviation, colours in 0..1",
        low=1e-4,
        high=10.0,
    )
    last_tolerance: float = option(
        0.015,
        "the error that is tolerated from seven tenths of the steps on; never below the noise of the degradation",
        unit="standard deviation, colours in 0..1",
        low=1e-4,
        high=10.0,
    )
    noise_rate: float = option(
        0.3,
        "learning rate of the noise maps, less where the input is noisy",
        unit="of the latents'",
        low=0.0,
        high=100.0,
    )
    candidates: int = option(
        1, "starts that are tried for each solution; after each trial the better half goes on", low=1, high=256
    )
    trial_steps: int = option(10, "steps of each trial of the candidates", unit="steps", low=1, high=10_000)
    patience: float = option(
        2.0,
        "while an image is not found, go on up to so many times the steps; 1 stops after steps",
        unit="times the steps",
        low=1.0,
        high=100.0,
    )
    whole_every: int = option(
        8,
        "every so many steps the whole picture is looked at, and in the last fifth at each; between them a coarse one, "
        "corrected by it, which takes a part of the time; 1: at each",
        unit="steps",
        low=1,
        high=1000,
    )
    settled: float = option(
        0.02,
        "stop early when every image is found and its prior changed by less than this share in a tenth of the steps, "
        "once the tolerance has fallen; 0: never",
        unit="share",
        low=0.0,
        high=1.0,
    )
    recompute: str = option(
        "auto",
        "for the gradient, compute the generator's layers again instead of keeping them: slower, in less memory; auto: "
        "where a single image does not fit otherwise",
        choices=RECOMPUTE,
    )
    consistency: float = option(
        0.0,
        "how much of the remaining error is taken off the picture itself; 1: it scales down to the input exactly",
        low=0.0,
        high=1.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_loss(self.loss)
        if self.prior == "sphere" and self.latent_space == "staged":
            raise SettingError(
                "latent_space is 'staged' and prior is 'sphere'.",
                "staged with whitened or shell, which have a common style that goes first.",
                "choose W+, or another prior.",
            )

    @property
    def most_steps(self) -> int:
        """Of one solution."""
        return round(self.steps * self.patience)


# What presets leave alone: how much, how many and how close, not how.
FREE = (
    "steps",
    "eps",
    "starts",
    "batch_size",
    "variety",
    "candidates",
    "trial_steps",
    "recompute",
    "consistency",
)
RECOMMENDED = SearchConfig()
PUBLISHED = SearchConfig(  # Menon et al. 2020 and its code
    loss="100*L2+0.05*GEOCROSS",
    learning_rate=0.4,
    schedule="linear1cycledrop",
    trainable_noise_layers=5,
    prior="sphere",
    beginning="prior",
    noise_rate=1.0,
    patience=1.0,
    whole_every=1,
    settled=0.0,
)
PRESETS = {"recommended": RECOMMENDED, "published": PUBLISHED}

"""The settings of a search, each with its unit, its range and what it does, and the presets that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SettingError
from ..latents.spaces import LATENT_SPACES, NOISE_MODES
from ..settings import Settings, option
from .losses import TERMS, parse_loss
from .optimizers import OPTIMIZERS
from .priors import PRIORS
from .schedules import SCHEDULES

# encoder: what the generator's encoder makes of the picture, where it has one. random: without looking at it.
INITS = ("encoder", "random")
RECOMPUTE = ("auto", "always", "never")


@dataclass(frozen=True)
class SearchConfig(Settings):
    """What a search does. The defaults are the recommended ones; `PRESETS` has them and the published ones.

    Raises:
        SettingError: a value outside its range or choices, or values that do not go together.
    """

    steps: int = option(
        64,
        "gradient steps; more draw more of the picture by the generator. 0: what the encoder makes of it, at once",
        unit="steps",
        low=0,
        high=100_000,
    )
    solutions: int = option(
        1, "different solutions for each input, from the seeds seed, seed + 1, ...", low=1, high=1000
    )
    eps: float = option(
        4e-3,
        "an image counts as found when the face that the generator draws is this close to the input, before the "
        "residual is added; the L2 loss pulls no further",
        unit="mean squared error, colours in 0..1",
        low=0.0,
        high=1.0,
        step=0.0001,
    )
    loss: str = option(
        "1*CAUCHY",
        f"what is minimised: weight*TERM+weight*TERM; terms {', '.join(term.name for term in TERMS)}",
        widget="advanced",
    )
    optimizer: str = option("adam", "how the gradient is followed", choices=tuple(OPTIMIZERS), widget="advanced")
    learning_rate: float = option(
        0.1, "the largest step of the schedule", unit="per step", low=1e-6, high=100.0, widget="advanced"
    )
    schedule: str = option("hold_then_fall", "how the learning rate runs", choices=tuple(SCHEDULES), widget="advanced")
    noise: str = option(
        "trainable",
        "search the first noise maps too, keep them as drawn, or none",
        choices=NOISE_MODES,
        widget="advanced",
    )
    trainable_noise_layers: int = option(
        7, "how many noise maps are searched", unit="layers", low=0, high=100, widget="advanced"
    )
    zero_noise_layers: tuple[int, ...] = option(
        (-1,), "noise maps that stay zero; negative counts from the last", widget="none"
    )
    latent_space: str = option(
        "W+",
        "one latent a layer (W+), one for all (W), or W first and then W+ (staged)",
        choices=LATENT_SPACES,
        widget="advanced",
    )
    batch_size: int = option(
        0,
        "images searched at the same time; 0: one on a CPU, as many as fit and pay on a GPU; 1 gives bit for bit what "
        "each image gives alone, whatever else is asked for",
        unit="images",
        low=0,
        high=256,
        widget="advanced",
    )
    prior: str = option(
        "whitened",
        "what keeps the latents natural: the measured correlations of W (whitened), also the norm that latents have "
        "(shell), or a sphere of independent dimensions, as published (sphere)",
        choices=tuple(PRIORS),
        widget="settings",
    )
    init: str = option(
        "encoder",
        "start from the encoder's mean for the picture, or from a random face (random)",
        choices=INITS,
        widget="settings",
    )
    offset_std: float = option(
        1.0,
        "how far each layer's style may leave the common one; less for layers finer than the input, whose details it "
        "cannot show; not for the sphere",
        unit="standard deviations of W",
        low=0.0,
        high=10.0,
        widget="settings",
    )
    prior_sample_scale: float = option(
        1.0,
        "each seed is drawn towards a random face of its own, scaled by this; 1: as far as faces differ, 0: the "
        "likeliest face; not for the sphere",
        unit="standard deviations of W",
        low=0.0,
        high=2.0,
        widget="appended",
    )
    sigma_start: float = option(
        0.3,
        "standard deviation of the error that is allowed at first, so that the face is natural before it is close; "
        "not for the sphere",
        unit="colours in 0..1",
        low=1e-4,
        high=10.0,
        widget="settings",
        step=0.001,
    )
    sigma_end: float = option(
        0.02,
        "standard deviation of the error that is allowed from seven tenths of the steps on; never below the noise of "
        "the degradation; not for the sphere",
        unit="colours in 0..1",
        low=1e-4,
        high=10.0,
        widget="settings",
        step=0.001,
    )
    background_weight: float = option(
        0.3,
        "how much pixels around the face count; the generator knows few backgrounds, and would bend the face for one; "
        "1: as much as the face, for pictures that are no faces; not for the sphere",
        low=0.0,
        high=1.0,
        widget="settings",
    )
    candidates: int = option(
        1,
        "starts that are tried for each solution; after each trial the better half goes on",
        low=1,
        high=256,
        widget="settings",
    )
    trial_steps: int = option(
        10, "steps of each trial of the candidates", unit="steps", low=1, high=10_000, widget="settings"
    )
    full_every: int = option(
        16,
        "the whole picture is rendered every so many steps, and at the end; between them a small one, corrected by it, "
        "which takes a part of the time; 1: always the whole picture",
        unit="steps",
        low=1,
        high=1000,
        widget="settings",
    )
    gradient_checkpointing: str = option(
        "auto",
        "for the gradient, compute the generator's layers again instead of keeping them: slower, in less memory; auto: "
        "where a single image does not fit otherwise",
        choices=RECOMPUTE,
        widget="settings",
    )
    fidelity: float = option(
        1.0,
        "from the likeliest natural face (0) to exact agreement with the input (1): how much of the residual, what the "
        "generator could not draw, goes into the picture, and how closely the generator's own face follows the input "
        "(sigma_end, which is doubled at 0)",
        low=0.0,
        high=1.0,
        widget="appended",
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
    def sigma_reached(self) -> float:
        """The standard deviation of the error that is allowed in the end: sigma_end, and more for less fidelity."""
        return self.sigma_end * 2 ** (1 - self.fidelity)


RECOMMENDED = SearchConfig()
PUBLISHED = SearchConfig(  # Menon et al. 2020 and its code
    steps=100,
    eps=1e-3,
    loss="100*L2+0.05*GEOCROSS",
    learning_rate=0.4,
    schedule="linear1cycledrop",
    trainable_noise_layers=5,
    prior="sphere",
    init="random",
    background_weight=1.0,
    full_every=1,
    fidelity=0.0,
)
PRESETS = {"recommended": RECOMMENDED, "published": PUBLISHED}

"""The settings of a search, with units and ranges, and the presets."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SettingError
from ..latents.spaces import LATENT_SPACES, NOISE_MODES
from ..settings import Settings, option
from .losses import TERMS, parse_loss
from .optimizers import OPTIMIZERS
from .priors import PRIORS
from .schedules import SCHEDULES

# encoder: the mean that the generator's encoder predicts, where it has one. random: a sample of the prior.
INITS = ("encoder", "random")
GLASSES = ("auto", "with", "without")
CHECKPOINTING = ("auto", "always", "never")


@dataclass(frozen=True)
class SearchConfig(Settings):
    """What a search does. The defaults are the recommended ones; `PRESETS` has them and the published ones.

    Raises:
        SettingError: a value outside its range or choices, or values that do not go together.
    """

    steps: int = option(
        64,
        "gradient steps; with more, the generator draws more, and less is residual. 0: the encoder's result",
        unit="steps",
        low=0,
        high=100_000,
    )
    solutions: int = option(1, "solutions per image, from seed, seed + 1, ...", low=1, high=1000)
    eps: float = option(
        4e-3,
        "a result counts as found if the generator's own face is this close to the target, before the residual "
        "is added; the L2 loss is flat below it",
        unit="mean squared error, colours in 0..1",
        low=0.0,
        high=1.0,
        step=0.0001,
    )
    loss: str = option(
        "1*CAUCHY",
        f"loss, as weight*TERM+weight*TERM; terms {', '.join(term.name for term in TERMS)}",
        widget="advanced",
    )
    optimizer: str = option("adam", "optimiser", choices=tuple(OPTIMIZERS), widget="advanced")
    learning_rate: float = option(0.1, "peak of the schedule", unit="per step", low=1e-6, high=100.0, widget="advanced")
    schedule: str = option(
        "hold_then_fall", "schedule of the learning rate", choices=tuple(SCHEDULES), widget="advanced"
    )
    noise: str = option(
        "trainable",
        "search the first noise maps too, keep them as sampled, or set them to zero",
        choices=NOISE_MODES,
        widget="advanced",
    )
    trainable_noise_layers: int = option(
        7, "number of noise maps that are searched", unit="layers", low=0, high=100, widget="advanced"
    )
    zero_noise_layers: tuple[int, ...] = option(
        (-1,), "noise maps that stay zero; negative numbers count from the last", widget="none"
    )
    latent_space: str = option(
        "W+",
        "one latent for each layer (W+), one for all (W), or W first, then W+ (staged)",
        choices=LATENT_SPACES,
        widget="advanced",
    )
    batch_size: int = option(
        0,
        "images searched together. 0: one on a CPU, on a GPU as many as fit and save time. 1: the result of an image "
        "is the same to the bit, whatever is searched beside it",
        unit="images",
        low=0,
        high=256,
        widget="advanced",
    )
    prior: str = option(
        "whitened",
        "prior over the latents: a Gaussian with the covariance of W (whitened), also with the norm of its samples "
        "(shell), or a sphere of independent dimensions, as published (sphere)",
        choices=tuple(PRIORS),
        widget="settings",
    )
    init: str = option(
        "encoder",
        "begin at the encoder's prediction for the target, or at a random face (random)",
        choices=INITS,
        widget="settings",
    )
    offset_std: float = option(
        1.0,
        "standard deviation of each layer's offset from the common style; reduced for layers finer than the target; "
        "not for the sphere",
        unit="standard deviations of W",
        low=0.0,
        high=10.0,
        widget="settings",
    )
    prior_sample_scale: float = option(
        1.0,
        "scale of the random face that each seed is drawn to. 1: results differ as faces do, 0: the likeliest face; "
        "not for the sphere",
        unit="standard deviations of W",
        low=0.0,
        high=2.0,
        widget="appended",
    )
    sigma_start: float = option(
        0.3,
        "sigma at first: the standard deviation of the error that is allowed. A large one keeps the face natural "
        "before it is close; not for the sphere",
        unit="colours in 0..1",
        low=1e-4,
        high=10.0,
        widget="settings",
        step=0.001,
    )
    sigma_end: float = option(
        0.02,
        "sigma from seven tenths of the steps on, never below the noise of the degradation; not for the sphere",
        unit="colours in 0..1",
        low=1e-4,
        high=10.0,
        widget="settings",
        step=0.001,
    )
    background_weight: float = option(
        0.3,
        "weight of the pixels around the face. The generator knows few backgrounds, and would bend the face for one. "
        "1: as much as the face, for images that are not faces; not for the sphere",
        low=0.0,
        high=1.0,
        widget="settings",
    )
    candidates: int = option(
        1,
        "initialisations that are tried for each solution; after each trial the better half goes on",
        low=1,
        high=256,
        widget="settings",
    )
    trial_steps: int = option(
        10, "steps of each trial of the candidates", unit="steps", low=1, high=10_000, widget="settings"
    )
    full_every: int = option(
        16,
        "steps from one full-resolution evaluation to the next. Those between are at low resolution, corrected by the "
        "last full one, and much faster. 1: all at full resolution",
        unit="steps",
        low=1,
        high=1000,
        widget="settings",
    )
    gradient_checkpointing: str = option(
        "auto",
        "compute the generator's layers again for the gradient instead of keeping them: slower, in less memory. auto: "
        "where a single image does not fit otherwise",
        choices=CHECKPOINTING,
        widget="settings",
    )
    fidelity: float = option(
        1.0,
        "from the likeliest natural face (0) to exact agreement with the target (1): the share of the residual that is "
        "added, and how close the generator's own face comes (sigma_end, doubled at 0)",
        low=0.0,
        high=1.0,
        widget="appended",
    )
    glasses: str = option(
        "auto",
        "whether the face wears glasses, which a tiny picture hardly shows. auto: as the search finds them, at times "
        "half of them. with, without: for generators whose fit knows glasses (ffhq-mobile) and the prior whitened",
        choices=GLASSES,
        widget="last",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_loss(self.loss)
        if self.prior == "sphere" and self.latent_space == "staged":
            raise SettingError(
                "latent_space is 'staged' and prior is 'sphere'.",
                "staged with whitened or shell, which search the common style first.",
                "choose W+, or another prior.",
            )
        if self.prior != "whitened" and self.glasses != "auto":
            raise SettingError(
                f"glasses is {self.glasses!r} and prior is {self.prior!r}.",
                "with and without for the prior whitened, along whose axes faces with glasses are known.",
                "choose auto, or the prior whitened.",
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

"""The encoder: what a low-resolution picture says of its latent, before any search.

    pairs.py         latents that the generator draws, and their small pictures
    augmentation.py  what pictures suffer before anybody sees them: scaling, noise, strange backgrounds
    training.py      the two above -> an Encoder
    network.py       the Encoder itself, and its file

It is trained once for a generator, like the Gaussian is fitted.
"""

from .network import Encoder as Encoder
from .network import encoder_path as encoder_path
from .training import DEFAULT_PAIRS as DEFAULT_PAIRS
from .training import fit_encoder as fit_encoder

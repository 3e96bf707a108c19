"""The name that nodes/fit_latent_gaussian.py still imports; see encoder/."""

from .encoder import DEFAULT_PAIRS as DEFAULT_PAIRS

"""Latents: the spaces Z, W and W+, the Gaussian fitted to W, the encoder that initialises a search, saved latents."""

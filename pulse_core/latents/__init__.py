"""Latents: the spaces Z, W and W+, the Gaussian fit of W, the encoder, saved latents, sampling and blending."""

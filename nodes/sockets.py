"""The socket types that the pack's nodes share."""

from comfy_api.latest import io

CATEGORY = "PULSE"

# A generator with the interface of NVlabs' G_ema; the existing StyleGAN pack's sockets have the same names.
StyleGAN = io.Custom("STYLEGAN")
# Style vectors ws, [B, num_ws, w_dim].
StyleGANLatent = io.Custom("STYLEGAN_LATENT")
# A pulse_core LatentGaussian.
LatentGaussian = io.Custom("LATENT_GAUSSIAN")

"""The socket types that the pack's nodes share."""

from comfy_api.latest import io

CATEGORY = "PULSE"


def class_label() -> io.Int.Input:
    """The class of a conditional generator; optional, so that graphs saved before it was there still run."""
    return io.Int.Input(
        "class_label",
        default=-1,
        min=-1,
        max=100_000,
        optional=True,
        tooltip="For conditional generators: the class, from 0; -1 for all. Others have no classes: leave it at -1.",
    )


# A generator with the interface of NVlabs' G_ema; the existing StyleGAN pack's sockets have the same names.
StyleGAN = io.Custom("STYLEGAN")
# Style vectors ws, [B, num_ws, w_dim].
StyleGANLatent = io.Custom("STYLEGAN_LATENT")
# A pulse_core LatentGaussian.
LatentGaussian = io.Custom("LATENT_GAUSSIAN")

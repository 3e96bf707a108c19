"""Mapping networks, z -> ws: the contract, and the one that the StyleGAN families share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CheckpointError
from .tensors import TensorBag

SLOPE = 0.2  # of every LeakyReLU; the inverse of the last one, which the latent fit needs, has the slope 5
W_AVG_SAMPLES = 10_000  # for checkpoints that store no average; its standard error is 1% of W's spread


class MappingNetwork(nn.Module):
    """z -> ws. A family implements `map_to_w`; truncation and broadcasting are the same for all.

    Args:
        z_dim, c_dim, w_dim: lengths of a latent, of a class label (0: unconditional) and of a style vector.
        num_ws: how many style vectors the synthesis takes.
        w_avg: [w_dim], the mean of W that truncation pulls towards; None estimates it when first needed.
    """

    _w_avg: Tensor | None

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, num_ws: int, w_avg: Tensor | None = None):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.register_buffer("_w_avg", w_avg)

    def map_to_w(self, z: Tensor, c: Tensor | None) -> Tensor:
        """[B, z_dim] (and labels [B, c_dim]) -> w [B, w_dim]."""
        raise TypeError(f"{type(self).__name__} must define map_to_w")

    @property
    def w_avg(self) -> Tensor:
        """[w_dim], the mean of W."""
        if self._w_avg is None:
            reference = next(self.parameters())
            z = torch.randn(W_AVG_SAMPLES, self.z_dim, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                w = self.map_to_w(z.to(reference), None)
            self._w_avg = w.cpu().double().mean(0).to(reference.dtype).to(reference.device)
        return self._w_avg

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Args:
            z: [B, z_dim], standard normal.
            c: [B, c_dim] class labels, or None.
            truncation_psi: 0..1, ws = w_avg + psi (w - w_avg): 1 leaves W as it is, 0 is the mean face
                (StyleGAN, Karras et al. 2019, appendix B).
            truncation_cutoff: only the first so many style vectors are truncated; None means all.

        Returns: ws [B, num_ws, w_dim].
        """
        w = self.map_to_w(z, c)
        ws = w.unsqueeze(1).repeat(1, self.num_ws, 1)
        if truncation_psi != 1:
            cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
            ws[:, :cutoff] = self.w_avg.to(ws).lerp(ws[:, :cutoff], truncation_psi)
        return ws


class MissingMapping(MappingNetwork):
    """Stands in for the mapping network of a checkpoint that holds only the synthesis."""

    def map_to_w(self, z: Tensor, c: Tensor | None) -> Tensor:
        raise CheckpointError(
            "This generator was loaded without its mapping network, so it cannot turn z into w.",
            "a checkpoint with both halves, or a synthesis file together with a latent Gaussian fit.",
            "put mapping.pt beside synthesis.pt or name it when loading, or connect a fit.",
        )


class DenseMapping(MappingNetwork):
    """The mapping network of the whole StyleGAN family: z / rms(z), then fully connected layers with LeakyReLU(0.2).

    Args:
        layers: (weight [out, in], bias [out]) each, with all run-time factors folded in.
        gain: a factor behind each LeakyReLU.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], num_ws: int, gain: float = 1.0):
        super().__init__(z_dim=layers[0][0].shape[1], c_dim=0, w_dim=layers[-1][0].shape[0], num_ws=num_ws)
        self.weights = nn.ParameterList([weight for weight, _ in layers])
        self.biases = nn.ParameterList([bias for _, bias in layers])
        self.gain = gain

    def map_to_w(self, z: Tensor, c: Tensor | None) -> Tensor:
        x = normalise_2nd_moment(z)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.leaky_relu(F.linear(x, weight, bias), SLOPE) * self.gain
        return x


def take_layers(bag: TensorBag, prefix: str) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of the layers prefix0, prefix1, ..., each as wide as the one before needs.

    Raises:
        CheckpointError: there is no first layer, or one does not fit the one before.
    """
    width = bag.shape(f"{prefix}0.weight", 2)[1]
    layers: list[tuple[Tensor, Tensor]] = []
    while f"{prefix}{len(layers)}.weight" in bag:
        name = f"{prefix}{len(layers)}"
        weight = bag.take(f"{name}.weight", -1, width)
        width = weight.shape[0]
        layers.append((weight, bag.take(f"{name}.bias", width)))
    return layers


def normalise_2nd_moment(z: Tensor) -> Tensor:
    """z / rms(z) for each row (the "pixel norm" before every mapping network), eps 1e-8."""
    return z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()

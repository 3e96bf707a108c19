"""Layers that StyleGAN2 and StyleGAN3 share, in NVlabs' parametrisation.

Stored weights are those of the equalised learning rate (Karras et al. 2018, section 4.1). Their run-time factors are
folded into the weights when a network is built.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mapping import DenseMapping, EmbedLabel, take_layers
from .tensors import TensorBag

ACT_GAIN = 2**0.5  # after every LeakyReLU
DEMOD_EPS = 1e-8
MAPPING_LR = 0.01  # the default learning-rate multiplier of the mapping network


def fan_in_gain(weight: Tensor) -> float:
    """The run-time factor 1 / sqrt(fan in) of the equalised learning rate."""
    return float(weight[0].numel() ** -0.5)


def squared_norms(weight: Tensor) -> Tensor:
    """[out, in, kh, kw] -> sums of squares [out, in] for demodulation, without a temporary of the weight's size."""
    return torch.linalg.vector_norm(weight.flatten(2), dim=2).square_()


class Affine(nn.Module):
    """w [B, w_dim] -> style [B, C]."""

    def __init__(self, bag: TensorBag, prefix: str, channels: int, w_dim: int):
        super().__init__()
        weight = bag.take(f"{prefix}.affine.weight", channels, w_dim)
        self.weight = nn.Parameter(weight * fan_in_gain(weight))
        self.bias = nn.Parameter(bag.take(f"{prefix}.affine.bias", channels))

    def forward(self, w: Tensor) -> Tensor:
        return F.linear(w, self.weight, self.bias)


def nvlabs_mapping(bag: TensorBag, num_ws: int, w_dim: int) -> DenseMapping:
    """The mapping network of StyleGAN2 and StyleGAN3.

    Setting: mapping_lr, the learning-rate multiplier, which also scales its weights and biases.
    """
    lr = bag.number("mapping_lr", MAPPING_LR, 1e-6, 1e3)
    label = None
    if "mapping.embed.weight" in bag:
        weight = bag.take("mapping.embed.weight", -1, -1)
        label = EmbedLabel(weight * fan_in_gain(weight), bag.take("mapping.embed.bias", weight.shape[0]))
    layers = take_layers(bag, "mapping.fc", w_dim)
    layers = [(weight * (fan_in_gain(weight) * lr), bias * lr) for weight, bias in layers]
    w_avg = bag.take_optional("mapping.w_avg", w_dim)
    return DenseMapping(layers, num_ws, ACT_GAIN, w_avg=w_avg, label=label)

"""Layers that StyleGAN2 and StyleGAN3 share, in NVlabs' parametrisation.

Stored weights are those of the equalised learning rate (Karras et al. 2018, section 4.1). Their run-time factors are
folded into the weights when a network is built.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mapping import (
    SLOPE,
    ConcatLabel,
    DenseMapping,
    EmbedLabel,
    TableLabel,
    check_classes,
    check_learning_rate,
    check_width,
    take_concat_label,
    take_layers,
)
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
    label = _label(bag)
    w_avg = class_avg = None
    if isinstance(label, TableLabel):
        class_avg = bag.take_optional("mapping.w_avg", label.c_dim, w_dim)
    else:
        w_avg = bag.take_optional("mapping.w_avg", w_dim)
    layers = take_layers(bag, "mapping.fc", w_dim)
    if "mapping_lr" in bag.assumed:
        check_learning_rate(layers, lr)
    layers = [(weight * (fan_in_gain(weight) * lr), bias * lr) for weight, bias in layers]
    return DenseMapping(layers, num_ws, ACT_GAIN, w_avg=w_avg, class_avg=class_avg, label=label)


def _label(bag: TensorBag) -> ConcatLabel | EmbedLabel | TableLabel | None:
    """The label embedding of TensorFlow's StyleGAN2, of NVlabs' later programs or of StyleGAN-XL."""
    if "mapping.label_concat.weight" in bag:
        return take_concat_label(bag)
    if "mapping.class_table.weight" in bag:
        return _table_label(bag)
    if "mapping.embed.weight" not in bag:
        return None
    check_classes(bag.shape("mapping.embed.weight", 2)[1])
    weight = bag.take("mapping.embed.weight", -1, -1)
    return EmbedLabel(weight * fan_in_gain(weight), bag.take("mapping.embed.bias", weight.shape[0]))


def _table_label(bag: TensorBag) -> TableLabel:
    """One class per row of w_avg; the table may have more rows."""
    rows, width = bag.shape("mapping.class_table.weight", 2)
    averages = bag.dims("mapping.w_avg")
    classes = averages[0] if len(averages) == 2 else rows
    check_classes(rows)
    check_width(bag.shape("mapping.embed_proj.weight", 2))
    table = bag.take("mapping.class_table.weight", max(rows, classes), width)
    weight = bag.take("mapping.embed_proj.weight", -1, width)
    bias = bag.take("mapping.embed_proj.bias", weight.shape[0])
    embedded = F.linear(table[:classes], weight * fan_in_gain(weight), bias)
    return TableLabel(F.leaky_relu(embedded, SLOPE) * ACT_GAIN)

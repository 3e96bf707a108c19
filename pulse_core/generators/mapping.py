"""Mapping networks, z -> ws: the interface, and the network that the StyleGAN families share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..defaults import own_numbers
from ..errors import CheckpointError, SettingError
from .tensors import MAX_CLASSES, MAX_WIDTH, TensorBag

SLOPE = 0.2  # of every LeakyReLU; its inverse, which the Gaussian fit needs, has slope 5
W_AVG_SAMPLES = 10_000  # to estimate a missing w_avg, with a standard error of 1% of W's std
_MAX_ACTIVATIONS = 1 << 23  # numbers of a layer's output, while w_avg is estimated
_LR_RANGE = 10.0  # how far from 1 the std of a layer's weights times the learning-rate multiplier may be


class MappingNetwork(nn.Module):
    """z -> ws. A family implements `map_to_w`; truncation and broadcasting are common to all.

    Args:
        z_dim, c_dim, w_dim: lengths of z, of a class label (0 if unconditional) and of w.
        num_ws: number of style vectors of the synthesis network.
        w_avg: [w_dim], the mean of W, for truncation; None estimates it when first needed.
        class_avg: [c_dim, w_dim], the mean of W of each class, if truncation uses that.
    """

    _w_avg: Tensor | None
    class_avg: Tensor | None

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int,
        w_avg: Tensor | None = None,
        class_avg: Tensor | None = None,
    ):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.register_buffer("_w_avg", w_avg if class_avg is None else class_avg.mean(0))
        self.register_buffer("class_avg", class_avg)

    def map_to_w(self, z: Tensor, c: Tensor | None) -> Tensor:
        """[B, z_dim] (and labels [B, c_dim]) -> w [B, w_dim]."""
        raise TypeError(f"{type(self).__name__} must define map_to_w")

    @property
    @own_numbers
    def w_avg(self) -> Tensor:
        """[w_dim], the mean of W."""
        if self._w_avg is None:
            reference = next(self.parameters())
            random = torch.Generator().manual_seed(0)
            z = torch.randn(W_AVG_SAMPLES, self.z_dim, generator=random)
            classes = torch.randint(max(self.c_dim, 1), (W_AVG_SAMPLES,), generator=random) if self.c_dim else None
            widest = max([self.c_dim, self.z_dim, *(side for p in self.parameters() for side in p.shape)])
            total = torch.zeros(self.w_dim, dtype=torch.float64)
            for some in torch.arange(W_AVG_SAMPLES).split(max(1, min(W_AVG_SAMPLES, _MAX_ACTIVATIONS // widest))):
                c = None if classes is None else F.one_hot(classes[some], self.c_dim).float()
                with torch.no_grad():
                    total += self.map_to_w(z[some].to(reference), c).cpu().double().sum(0)
            self._w_avg = (total / W_AVG_SAMPLES).to(reference.dtype).to(reference.device)
        return self._w_avg

    @own_numbers
    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Args:
            z: [B, z_dim], standard normal; converted to the weights' device and type.
            c: [B, c_dim] class labels; None for an unconditional generator.
            truncation_psi: 0..1, ws = w_avg + psi (w - w_avg): 1 means no truncation, 0 the mean face
                (StyleGAN, Karras et al. 2019, appendix B).
            truncation_cutoff: truncates only the first style vectors, so many; None truncates all.

        Returns: ws [B, num_ws, w_dim].
        """
        w = self.map_to_w(z.to(next(self.parameters(), z)), c)
        ws = w.unsqueeze(1).repeat(1, self.num_ws, 1)
        if truncation_psi != 1:
            cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
            centre = self.w_avg.to(ws)
            if self.class_avg is not None and c is not None:
                centre = self.class_avg.to(ws)[c.argmax(1).to(ws.device), None]
            ws[:, :cutoff] = centre.lerp(ws[:, :cutoff], truncation_psi)
        return ws


class MissingMapping(MappingNetwork):
    """Replaces the mapping network of a checkpoint that has only a synthesis network; `map_to_w` raises."""

    def map_to_w(self, z: Tensor, c: Tensor | None) -> Tensor:
        raise CheckpointError(
            "This generator was loaded without its mapping network, so it cannot turn z into w.",
            "a checkpoint with both halves, or a synthesis file together with a latent Gaussian fit.",
            "put mapping.pt beside synthesis.pt or name it when loading, or connect a fit.",
        )


class ConcatLabel(nn.Module):
    """StyleGAN1's labels: z and a linear embedding of the class are concatenated, then normalised together.

    Args:
        weight: [c_dim, latent].
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.c_dim, self.width = weight.shape

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return normalise_2nd_moment(torch.cat([z, c @ self.weight], dim=1))


class EmbedLabel(nn.Module):
    """NVlabs' later labels: z and the embedded class are normalised separately, then concatenated.

    Args:
        weight: [embed, c_dim] with its run-time factor folded in; bias: [embed].
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.width, self.c_dim = weight.shape

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        y = F.linear(c, self.weight, self.bias)
        return torch.cat([normalise_2nd_moment(z), normalise_2nd_moment(y)], dim=1)


class TableLabel(nn.Module):
    """StyleGAN-XL's labels: an embedding per class, concatenated with z. A weighted label counts as its largest class.

    Args:
        rows: [c_dim, width], the embeddings after their own layer and its LeakyReLU, not yet normalised.
    """

    rows: Tensor

    def __init__(self, rows: Tensor):
        super().__init__()
        self.register_buffer("rows", normalise_2nd_moment(rows))
        self.c_dim, self.width = rows.shape

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return torch.cat([normalise_2nd_moment(z), self.rows[c.argmax(1)]], dim=1)


class DenseMapping(MappingNetwork):
    """The mapping network of all StyleGAN families: z / rms(z), then fully connected layers with LeakyReLU(0.2).

    Args:
        layers: (weight [out, in], bias [out]) of each layer, with all run-time factors folded in.
        gain: a positive factor after each LeakyReLU.
        label: the embedding of class labels; None for an unconditional network.
    """

    def __init__(
        self,
        layers: Sequence[tuple[Tensor, Tensor]],
        num_ws: int,
        gain: float = 1.0,
        *,
        w_avg: Tensor | None = None,
        class_avg: Tensor | None = None,
        label: ConcatLabel | EmbedLabel | TableLabel | None = None,
    ):
        z_dim = layers[0][0].shape[1] - (label.width if label is not None else 0)
        if z_dim < 1:
            raise _mapping_error(
                "has a first layer no wider than its class label", "a wider first layer, which takes z as well"
            )
        c_dim = label.c_dim if label is not None else 0
        super().__init__(z_dim, c_dim, layers[-1][0].shape[0], num_ws, w_avg, class_avg)
        # the gain is positive, so it commutes with the LeakyReLU
        self.weights = nn.ParameterList([weight * gain for weight, _ in layers])
        self.biases = nn.ParameterList([bias * gain for _, bias in layers])
        self.label = label

    def map_to_w(self, z: Tensor, c: Tensor | None) -> Tensor:
        if self.label is None:
            x = normalise_2nd_moment(z)
        else:
            x = self.label(z, self._check_label(c, z))
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.leaky_relu_(F.linear(x, weight, bias), SLOPE)
        return x

    def _check_label(self, c: Tensor | None, z: Tensor) -> Tensor:
        if c is None or c.shape != (z.shape[0], self.c_dim):
            raise SettingError(
                f"This generator is conditional and was given {'no class' if c is None else list(c.shape)}.",
                f"labels c [{z.shape[0]}, {self.c_dim}], one-hot or weighted.",
                f"choose a class from 0 to {self.c_dim - 1}.",
            )
        return c.to(z)


def take_layers(bag: TensorBag, prefix: str, w_dim: int) -> list[tuple[Tensor, Tensor]]:
    """Takes (weight, bias) of the layers prefix0, prefix1, ...

    Raises:
        CheckpointError: there is no first layer, two layers do not match, or the last is not w_dim wide.
    """
    width = bag.shape(f"{prefix}0.weight", 2)[1]
    layers: list[tuple[Tensor, Tensor]] = []
    while f"{prefix}{len(layers)}.weight" in bag:
        name = f"{prefix}{len(layers)}"
        check_width(bag.shape(f"{name}.weight", 2))
        weight = bag.take(f"{name}.weight", -1, width)
        width = weight.shape[0]
        layers.append((weight, bag.take(f"{name}.bias", width)))
    if width != w_dim:
        raise _mapping_error(f"has {width} outputs", f"{w_dim}, the w_dim of its synthesis network")
    return layers


def take_concat_label(bag: TensorBag) -> ConcatLabel | None:
    """The label of TensorFlow's mapping networks, if there is one."""
    if "mapping.label_concat.weight" not in bag:
        return None
    shape = bag.shape("mapping.label_concat.weight", 2)
    check_classes(shape[0])
    check_width(shape[1:])
    return ConcatLabel(bag.take("mapping.label_concat.weight", -1, -1))


def check_width(shape: Sequence[int]) -> None:
    """Raises CheckpointError for a layer that is wider than any mapping network's."""
    if max(shape) > MAX_WIDTH:
        raise _mapping_error(f"has a layer of the shape {list(shape)}", f"layers of at most {MAX_WIDTH}")


def check_classes(count: int) -> int:
    """The number of classes; raises CheckpointError if no data set has so many."""
    if count > MAX_CLASSES:
        raise _mapping_error(f"is for {count:,} classes", f"at most {MAX_CLASSES:,}")
    return count


def check_learning_rate(layers: Sequence[tuple[Tensor, Tensor]], multiplier: float) -> None:
    """Weights of an equalised learning rate begin with a deviation of 1 / multiplier, and training changes it little.

    Raises:
        CheckpointError: an assumed multiplier that the weights contradict.
    """
    deviation = float(torch.stack([weight.square().mean() for weight, _ in layers]).mean().sqrt())
    if not 1 / _LR_RANGE <= deviation * multiplier <= _LR_RANGE:
        raise CheckpointError(
            f"The checkpoint does not say its setting 'mapping_lr', and its weights deviate by {deviation:.3g}, "
            f"which is not that of the usual {multiplier:g}.",
            f"a deviation of about {1 / multiplier:g}, or a file that says the setting.",
            "load the program's own pickle instead of a state_dict of it.",
        )


def _mapping_error(found: str, accepted: str) -> CheckpointError:
    return CheckpointError(
        f"The mapping network of the checkpoint {found}.", f"{accepted}.", "check that both networks belong together."
    )


def draw_labels(count: int, c_dim: int, class_index: int | None, generator: torch.Generator) -> Tensor | None:
    """One-hot labels [count, c_dim] of one class, or of uniformly drawn classes; None for an unconditional generator.

    Raises:
        SettingError: no such class, or a class for an unconditional generator.
    """
    if class_index is not None and not 0 <= class_index < c_dim:
        raise SettingError(
            f"The class is {class_index}, and this generator has {c_dim or 'no'} classes.",
            f"0 to {c_dim - 1}, or none for all classes in equal parts." if c_dim else "no class.",
            "choose one of these.",
        )
    if c_dim == 0:
        return None
    if class_index is None:
        classes = torch.randint(c_dim, (count,), generator=generator)
    else:
        classes = torch.full((count,), class_index)
    return F.one_hot(classes, c_dim).float()


def normalise_2nd_moment(z: Tensor) -> Tensor:
    """z / rms(z) of each row, eps 1e-8: the "pixel norm" before every mapping network."""
    return z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()

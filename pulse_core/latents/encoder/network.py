"""A small convolutional network: low-resolution picture -> Gaussian over whitened w.

A residual network (He et al. 2016, arXiv 1512.03385) with group normalisation (Wu, He 2018, arXiv 1803.08494). It
predicts a mean and a variance for each axis (Nix, Weigend 1994), so it can express its uncertainty, which is large for
tiny pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoints import read_checkpoint, safetensors_format
from ...checkpoints.stored import Stored
from ...degradations.bicubic import downsample
from ...errors import CheckpointError

ENCODER_SUFFIX = ".encoder.safetensors"
SIDE = 64  # pixels of the longer side of its input, at most
_DOWNSCALING = 16  # factor from the input to the last features
_WIDE, _NARROW = (48, 96, 144, 224), (8, 16, 24, 32)  # channels at 1/2, 1/4, 1/8 and 1/16 of SIDE
_WIDE_FROM = 128  # dimensions of W
_BLOCKS = (0, 1, 2, 1)
_GROUPS = 8
_MIN_LOG_STD, _MAX_LOG_STD = -3.0, 0.3  # of the predicted log standard deviation


class Block(nn.Module):
    """x + convolutions(x)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, h, w] -> the same shape."""
        result: Tensor = x + self.second(F.silu(self.first(F.silu(self.norm(x)))))
        return result


class Encoder(nn.Module):
    """Low-resolution picture -> whitened w.

    Args:
        w_dim: of the generator.
        size: (h, w) of its input, multiples of 16; see `canonical_size`.

    Attributes:
        signs: [w_dim], 1 or -1: the orientation of the principal axes that it predicts along; see `with_signs`.

    The parameters are on the meta device until `initialise` or `load` fill them.
    """

    signs: Tensor

    def __init__(self, w_dim: int, size: tuple[int, int]):
        super().__init__()
        self.w_dim, self.size = w_dim, size
        widths = _WIDE if is_wide(w_dim) else _NARROW
        with torch.device("meta"):  # leaves the global random state alone
            self.stem = nn.Conv2d(3 * 4, widths[0], 3, padding=1)
            layers: list[nn.Module] = []
            for before, channels, blocks in zip((0, *widths), widths, _BLOCKS, strict=False):
                if before:
                    layers.append(nn.Conv2d(before, channels, 3, stride=2, padding=1))
                layers.extend(Block(channels) for _ in range(blocks))
            self.body = nn.Sequential(*layers)
            self.norm = nn.GroupNorm(_GROUPS, widths[-1])
            self.squeeze = nn.Conv2d(widths[-1], widths[1], 1)
            positions = size[0] * size[1] // _DOWNSCALING**2
            self.head = nn.Linear(widths[1] * positions, 2 * w_dim)
        self.register_buffer("signs", torch.ones(w_dim, dtype=torch.int8))

    def initialise(self, random: torch.Generator) -> Encoder:
        """Initialises the weights (He et al. 2015) and returns itself; the first prediction is N(0, 1)."""
        self.to_empty(device="cpu")
        self.signs.fill_(1)
        for name, weight in self.named_parameters():
            with torch.no_grad():
                if name.startswith("head") or name.endswith("bias"):
                    weight.zero_()
                elif "norm" in name:
                    weight.fill_(1)
                else:
                    weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=random)
                    if "second" in name:  # so that a block starts close to the identity
                        weight.mul_(0.1)
        return self

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, *size] in 0..1 -> mean and logarithm of the standard deviation, [B, w_dim] each."""
        x = self.body(self.stem(F.pixel_unshuffle(2 * pictures - 1, 2)))
        x = F.silu(self.squeeze(F.silu(self.norm(x))))
        mean, log_std = self.head(x.flatten(1)).float().chunk(2, 1)
        return mean, log_std.clamp(_MIN_LOG_STD, _MAX_LOG_STD)

    @torch.no_grad()
    def posterior(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures of any size, [B, 3, h, w] in 0..1 -> mean and standard deviation of whitened w, [B, w_dim] each."""
        mean, log_std = self(to_canonical(target.to(self.head.weight), self.size))
        return mean.to(target), log_std.exp().to(target)

    def posterior_mean(self, target: Tensor) -> Tensor:
        """The mean of `posterior`."""
        return self.posterior(target)[0]

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> Encoder:
        """A copy with the function applied to every weight, for example to move it to a device."""
        state = {name: function(tensor.detach()) for name, tensor in self.named_parameters()}
        return Encoder(self.w_dim, self.size)._load_state(state | {"signs": self.signs})

    def with_signs(self, signs: Tensor) -> Encoder:
        """A copy for principal axes with these signs: [w_dim], 1 or -1.

        The sign of an eigenvector is arbitrary and depends on the machine's linear algebra library.
        """
        flips = (signs.cpu() * self.signs.cpu()).to(self.head.weight)
        other = self.rescaled(flips, torch.ones_like(flips), torch.zeros_like(flips))
        other.signs = signs.cpu().clone()
        return other

    def rescaled(self, mean: Tensor, a: Tensor, b: Tensor) -> Encoder:
        """A copy that predicts mean * its mean, and a * log_std + b; [w_dim] each."""
        state = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        factor = torch.cat([mean, a])
        state["head.weight"] = factor[:, None] * state["head.weight"]
        state["head.bias"] = factor * state["head.bias"] + torch.cat([torch.zeros_like(b), b])
        return Encoder(self.w_dim, self.size)._load_state(state)

    def _load_state(self, state: dict[str, Tensor]) -> Encoder:
        """Loads the tensors, freezes itself and returns itself."""
        self.load_state_dict(state, assign=True)
        return self.eval().requires_grad_(False)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by their names in a file."""
        return {**self.state_dict(), "size": torch.tensor(self.size)}

    def save(self, path: Path | str, metadata: dict[str, str] | None = None) -> None:
        """Writes a safetensors file in float16, atomically."""
        tensors = {
            name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
            for name, tensor in self.tensors().items()
        }
        safetensors_format.write(path, tensors, metadata)

    @staticmethod
    def load(path: Path | str) -> Encoder:
        """Reads a file written by `save`, as float32.

        Raises:
            CheckpointError: not an encoder.
        """
        tensors = read_checkpoint(path).tensors
        encoder = _meta_encoder_for(tensors)
        expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()} if encoder else {}
        if encoder is None or {name: t.shape for name, t in tensors.items() if name != "size"} != expected:
            raise _encoder_error(path, ", ".join(f"{k} {list(v.shape)}" for k, v in sorted(tensors.items())[:4]))
        state = {name: tensors[name].read() for name in expected}
        signs = state.pop("signs")
        if not all(bool(tensor.isfinite().all()) for tensor in state.values()) or not bool((signs.abs() == 1).all()):
            raise _encoder_error(path, "values that are not finite, or invalid signs")
        return encoder._load_state({name: tensor.float() for name, tensor in state.items()} | {"signs": signs})


def _meta_encoder_for(tensors: Stored) -> Encoder | None:
    """An encoder on the meta device with the sizes that a file's tensors imply; None if they imply none."""
    size, signs = tensors.get("size"), tensors.get("signs")
    if size is None or signs is None or not signs.shape:
        return None
    if (size.shape, size.dtype, signs.dtype) != ((2,), torch.int64, torch.int8):
        return None
    height, width = (int(side) for side in size.read())
    if any(side % _DOWNSCALING or not _DOWNSCALING <= side <= SIDE for side in (height, width)):
        return None
    return Encoder(signs.shape[0], (height, width)) if signs.shape[0] else None


def _encoder_error(path: Path | str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds {found}.",
        "an encoder written by this pack: the tensors of its network, its size and signs.",
        "delete it, and train one with `python -m pulse_core fit GENERATOR --encoder N`.",
    )


def is_wide(w_dim: int) -> bool:
    """Whether the encoder for a W of this many dimensions is the wide one."""
    return w_dim >= _WIDE_FROM


def encoder_path(fit: Path | str) -> Path:
    """The encoder's file beside that of a fit: x.gaussian.safetensors -> x.encoder.safetensors."""
    path = Path(fit)
    return path.with_name(path.name.removesuffix(path.suffix).removesuffix(".gaussian") + ENCODER_SUFFIX)


def canonical_size(size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of a generator -> (h, w) of its encoder's input: multiples of 16, the longer side at most SIDE."""
    scale = min(1, SIDE / max(size)) / _DOWNSCALING
    height, width = (max(1, round(scale * side)) * _DOWNSCALING for side in size)
    return height, width


def to_canonical(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes pictures [B, 3, h, w] to `size` and clamps them to 0..1."""
    if pictures.shape[-2] >= size[0] and pictures.shape[-1] >= size[1]:
        pictures = downsample(pictures, size=size)
    else:
        pictures = F.interpolate(pictures, size, mode="bilinear", align_corners=False)
    return pictures.clamp(0, 1)

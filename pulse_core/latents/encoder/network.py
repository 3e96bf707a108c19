"""A small convolutional network from a low-resolution picture to whitened w: its mean and its spread.

A residual network (He et al. 2016, arXiv 1512.03385) with group normalisation (Wu, He 2018, arXiv 1803.08494). It
predicts a Gaussian with a variance of its own for each axis (Nix, Weigend 1994), so that it can say what it does not
know: of a tiny picture, most.
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
SIDE = 64  # pixels of the longer side that the network looks at
_SHRINKS = 16  # times, from there to its last features
_WIDE, _NARROW = (48, 96, 144, 224), (8, 16, 24, 32)  # channels at 1/2, 1/4, 1/8 and 1/16 of SIDE
_MANY = 128  # dimensions of W from which on it is wide
_BLOCKS = (0, 1, 2, 1)
_GROUPS = 8
_LOWEST, _HIGHEST = -3.0, 0.3  # of the logarithm of the spread


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
        size: (h, w) that pictures are brought to, multiples of 16; see `canonical_size`.

    Attributes:
        signs: [w_dim], 1 or -1: which way the axes point that it speaks of; see `facing`.

    Made on the meta device: `filled` or `load` give it numbers.
    """

    signs: Tensor

    def __init__(self, w_dim: int, size: tuple[int, int]):
        super().__init__()
        self.w_dim, self.size = w_dim, size
        widths = _WIDE if is_wide(w_dim) else _NARROW
        with torch.device("meta"):  # whose parameters take nothing from the global random state
            self.stem = nn.Conv2d(3 * 4, widths[0], 3, padding=1)
            layers: list[nn.Module] = []
            for before, channels, blocks in zip((0, *widths), widths, _BLOCKS, strict=False):
                if before:
                    layers.append(nn.Conv2d(before, channels, 3, stride=2, padding=1))
                layers.extend(Block(channels) for _ in range(blocks))
            self.body = nn.Sequential(*layers)
            self.norm = nn.GroupNorm(_GROUPS, widths[-1])
            self.squeeze = nn.Conv2d(widths[-1], widths[1], 1)
            places = size[0] * size[1] // _SHRINKS**2
            self.head = nn.Linear(widths[1] * places, 2 * w_dim)
        self.register_buffer("signs", torch.ones(w_dim, dtype=torch.int8))

    def filled(self, random: torch.Generator) -> Encoder:
        """Itself, with weights from this random generator (He et al. 2015); at first it knows nothing: N(0, 1)."""
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
                    if "second" in name:  # so that a block begins close to doing nothing
                        weight.mul_(0.1)
        return self

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, *size] in 0..1 -> mean and logarithm of the standard deviation, [B, w_dim] each."""
        x = self.body(self.stem(F.pixel_unshuffle(2 * pictures - 1, 2)))
        x = F.silu(self.squeeze(F.silu(self.norm(x))))
        mean, log_std = self.head(x.flatten(1)).float().chunk(2, 1)
        return mean, log_std.clamp(_LOWEST, _HIGHEST)

    @torch.no_grad()
    def posterior(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures of any size, [B, 3, h, w] in 0..1 -> mean and standard deviation of whitened w, [B, w_dim] each."""
        mean, log_std = self(to_canonical(target.to(self.head.weight), self.size))
        return mean.to(target), log_std.exp().to(target)

    def guess(self, target: Tensor) -> Tensor:
        """The mean of `posterior`."""
        return self.posterior(target)[0]

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> Encoder:
        """A copy with all its weights changed, for example moved to a device."""
        state = {name: change(tensor.detach()) for name, tensor in self.named_parameters()}
        return Encoder(self.w_dim, self.size)._with(state | {"signs": self.signs})

    def facing(self, signs: Tensor) -> Encoder:
        """A copy that speaks of axes which point these ways: [w_dim], 1 or -1.

        Principal axes may come out either way round, which is for the machine's linear algebra to choose.
        """
        turn = (signs.cpu() * self.signs.cpu()).to(self.head.weight)
        other = self.rescaled(turn, torch.ones_like(turn), torch.zeros_like(turn))
        other.signs = signs.cpu().clone()
        return other

    def rescaled(self, mean: Tensor, a: Tensor, b: Tensor) -> Encoder:
        """A copy whose means are `mean` times as large, and whose log_std is a * log_std + b; [w_dim] each."""
        state = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        factor = torch.cat([mean, a])
        state["head.weight"] = factor[:, None] * state["head.weight"]
        state["head.bias"] = factor * state["head.bias"] + torch.cat([torch.zeros_like(b), b])
        return Encoder(self.w_dim, self.size)._with(state)

    def _with(self, state: dict[str, Tensor]) -> Encoder:
        """Itself, with these tensors, frozen."""
        self.load_state_dict(state, assign=True)
        return self.eval().requires_grad_(False)

    def tensors(self) -> dict[str, Tensor]:
        """All there is, by the names that a file has for it."""
        return {**self.state_dict(), "size": torch.tensor(self.size)}

    def save(self, path: Path | str, metadata: dict[str, str] | None = None) -> None:
        """Writes it as a safetensors file in float16, whole or not at all."""
        tensors = {
            name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
            for name, tensor in self.tensors().items()
        }
        safetensors_format.write(path, tensors, metadata)

    @staticmethod
    def load(path: Path | str) -> Encoder:
        """Reads what `save` wrote, as float32.

        Raises:
            CheckpointError: not an encoder.
        """
        tensors = read_checkpoint(path).tensors
        encoder = _shaped_for(tensors)
        expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()} if encoder else {}
        if encoder is None or {name: t.shape for name, t in tensors.items() if name != "size"} != expected:
            raise _no_encoder(path, ", ".join(f"{k} {list(v.shape)}" for k, v in sorted(tensors.items())[:4]))
        state = {name: tensors[name].read() for name in expected}
        signs = state.pop("signs")
        if not all(bool(tensor.isfinite().all()) for tensor in state.values()) or not bool((signs.abs() == 1).all()):
            raise _no_encoder(path, "numbers that are not finite, or signs that are none")
        return encoder._with({name: tensor.float() for name, tensor in state.items()} | {"signs": signs})


def _shaped_for(tensors: Stored) -> Encoder | None:
    """An encoder without numbers, of the shape that a file's tensors speak of; None where they speak of none."""
    size, signs = tensors.get("size"), tensors.get("signs")
    if size is None or signs is None or not signs.shape:
        return None
    if (size.shape, size.dtype, signs.dtype) != ((2,), torch.int64, torch.int8):
        return None
    height, width = (int(side) for side in size.read())
    if any(side % _SHRINKS or not _SHRINKS <= side <= SIDE for side in (height, width)):
        return None
    return Encoder(signs.shape[0], (height, width)) if signs.shape[0] else None


def _no_encoder(path: Path | str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds {found}.",
        "an encoder as this pack writes it: the tensors of its network, their size and signs.",
        "delete it, and make one with `python -m pulse_core fit GENERATOR --encoder N`.",
    )


def is_wide(w_dim: int) -> bool:
    """Whether W has so many dimensions that the encoder is a large one."""
    return w_dim >= _MANY


def encoder_path(fit: Path | str) -> Path:
    """Where the encoder of a fit's file lies: beside it, x.gaussian.safetensors and x.encoder.safetensors."""
    path = Path(fit)
    return path.with_name(path.name.removesuffix(path.suffix).removesuffix(".gaussian") + ENCODER_SUFFIX)


def canonical_size(size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of a generator -> (h, w) that its encoder looks at: the longer side at most SIDE, multiples of 16."""
    scale = min(1, SIDE / max(size)) / _SHRINKS
    height, width = (max(1, round(scale * side)) * _SHRINKS for side in size)
    return height, width


def to_canonical(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures [B, 3, h, w] of any size, brought to this one and into 0..1."""
    if pictures.shape[-2] >= size[0] and pictures.shape[-1] >= size[1]:
        pictures = downsample(pictures, size=size)
    else:
        pictures = F.interpolate(pictures, size, mode="bilinear", align_corners=False)
    return pictures.clamp(0, 1)

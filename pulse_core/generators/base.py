"""The contract of a generator: the interface that NVlabs' G_ema speaks, plus what a search needs.

`G.mapping(z, c) -> ws`, `G.synthesis(ws) -> image`, and the sizes as attributes. A search needs
besides: `noise_shapes`, the noise maps as an input, and a name with a content hash.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..checkpoints.stored import Stored
from ..devices.optimizations import is_enabled, memory_format
from ..errors import SettingError
from .mapping import MappingNetwork, MissingMapping
from .tensors import TensorBag

T = TypeVar("T")

# What NVlabs' synthesis networks take besides: choices between kernels, which there are none of here.
_IGNORED_OPTIONS = {"force_fp32", "fused_modconv", "update_emas"}


class SynthesisNetwork(nn.Module):
    """ws -> image. A family implements `render` or `render_low_resolution`; the choice of noise is the same for all.

    Args:
        w_dim, num_ws: length and number of the style vectors.
        size: (height, width) of the image; channels: of the image.
        noise_shapes: (height, width) of each noise input; noise_consts: the stored maps [H, W] that noise_mode
            "const" uses; where the checkpoint has none they are drawn from seed 0, the same on every machine.
        style_sides: the longer side, in pixels, of the features that each style vector works on; None supposes
            that it doubles every two, up to the image's.

    Attributes:
        can_capture: whether a CUDA graph can record it; not what another program loaded.
        has_low_resolution: whether the family defines `render_low_resolution`, whose largest side is that of `render`.
        recomputes: see `recomputing`.
    """

    can_capture: ClassVar[bool] = True
    has_low_resolution: ClassVar[bool] = False
    recomputes = False

    def __init__(
        self,
        w_dim: int,
        num_ws: int,
        size: tuple[int, int],
        channels: int,
        noise_shapes: Sequence[tuple[int, int]] = (),
        noise_consts: Sequence[Tensor | None] = (),
        style_sides: Sequence[int] | None = None,
    ):
        super().__init__()
        self.w_dim, self.num_ws = w_dim, num_ws
        self.size, self.img_resolution, self.img_channels = size, max(size), channels
        self.noise_shapes = tuple(noise_shapes)
        self.style_sides = tuple(style_sides or (max(4, max(size) >> (num_ws - 1 - i) // 2) for i in range(num_ws)))
        random = torch.Generator().manual_seed(0)
        for index, (shape, stored) in enumerate(zip(noise_shapes, noise_consts, strict=True)):
            noise = stored if stored is not None else torch.randn(shape, generator=random)
            self.register_buffer(f"noise_const_{index}", noise)  # [H, W] and this name, as projectors expect it

    def render(self, ws: Tensor, noise: Sequence[Tensor | None]) -> Tensor:
        """ws [B, num_ws, w_dim], one noise map [B or 1, 1, H, W] or None a layer -> [B, C, H, W]."""
        if not self.has_low_resolution:
            raise TypeError(f"{type(self).__name__} must define render")
        return self.render_low_resolution(ws, noise, self.img_resolution)

    def render_low_resolution(self, ws: Tensor, noise: Sequence[Tensor | None], side: int) -> Tensor:
        """About what `render` gives, with a longer side of `side` pixels, a power of two, at a part of the cost.

        Layers of larger features work at that size, on their averages over squares, as if they were alike inside.
        How it follows from ws and the noise of the smaller ones is about right; fine detail is not in it.
        """
        raise TypeError(f"{type(self).__name__} has no coarse picture")

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Sequence[Tensor | None] | None = None,
        generator: torch.Generator | None = None,
        **nvlabs_options: Any,
    ) -> Tensor:
        """Args:
            ws: [B, num_ws, w_dim], brought to the weights' device and type.
            noise_mode: "const" (the stored maps), "random" or "none".
            noise: maps [B or 1, 1, H, W], one a layer as in `noise_shapes`; a None falls back to noise_mode.
            generator: for "random"; None seeds a new one, the global random state is never touched.
            nvlabs_options: force_fp32, fused_modconv and update_emas are accepted, and change nothing.

        Returns: [B, C, H, W], about -1..1, not clamped.
        """
        if unknown := nvlabs_options.keys() - _IGNORED_OPTIONS:
            raise TypeError(f"synthesis has no argument {sorted(unknown)[0]!r}")
        ws = ws.to(next(self.parameters()))
        fallback = self._default_noise(noise_mode, ws, generator)
        if noise is None:
            return self.render(ws, fallback)
        if len(noise) != len(self.noise_shapes):
            raise SettingError(
                f"{len(noise)} noise maps were given.",
                f"{len(self.noise_shapes)}, one a layer, with None where the stored map will do.",
                "see noise_shapes for their sizes.",
            )
        return self.render(
            ws, [given if given is not None else own for given, own in zip(noise, fallback, strict=True)]
        )

    def with_feature_dtype(self, dtype: torch.dtype) -> SynthesisNetwork:
        """A copy whose features are of another type: the constant and the weights of convolutions, not the styles."""
        other = copy.deepcopy(self)
        for part in other.modules():
            for name, each in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
                if each.ndim == 4 or name == "kernel":
                    data = each.detach().to(dtype)
                    data = channels_last(data) if data.ndim == 4 else data
                    setattr(part, name, nn.Parameter(data, False) if isinstance(each, nn.Parameter) else data)
        return other

    @contextmanager
    def recomputing(self, on: bool) -> Iterator[None]:
        """While entered (and on), a gradient computes what lies inside the blocks again instead of keeping it.

        The gradient is to be taken inside, too: it is then that parts of parts are not kept.

        The same result to the last bit, for up to a half more time, in a part of the memory (Chen et al. 2016,
        arXiv 1604.06174).
        """
        before, self.recomputes = self.recomputes, on
        try:
            yield
        finally:
            self.recomputes = before

    def run_block(self, block: Callable[..., T], *inputs: Any) -> T:
        """block(*inputs); recomputed for its gradient, if that was asked for."""
        if self.recomputes and torch.is_grad_enabled():
            result: T = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
            return result
        return block(*inputs)

    def const_noise(self) -> tuple[Tensor, ...]:
        """The stored maps, [1, 1, H, W] a layer."""
        return tuple(getattr(self, f"noise_const_{i}")[None, None] for i in range(len(self.noise_shapes)))

    def _default_noise(self, mode: str, ws: Tensor, generator: torch.Generator | None) -> list[Tensor | None]:
        if mode == "none":
            return [None] * len(self.noise_shapes)
        if mode == "const":
            return list(self.const_noise())
        if mode == "random":
            if generator is None:
                generator = torch.Generator()
                generator.seed()
            shapes = [(ws.shape[0], 1, *shape) for shape in self.noise_shapes]
            return [torch.randn(shape, generator=generator, device=generator.device).to(ws) for shape in shapes]
        raise SettingError(f"noise_mode is {mode!r}.", "'const', 'random' or 'none'.", "choose one of the three.")


class Generator(nn.Module):
    """A frozen generator of one family; see the module's docstring for the contract.

    Args:
        name: what reports and pictures call it.
        content_hash: SHA-256 of the weights, independent of the file format.

    Attributes:
        files: what it was loaded from; its latent fit is cached beside the first.
        host_handle: what a host's memory management knows it by; None until a host sets it.
    """

    family: ClassVar[str]
    files: tuple[Path, ...] = ()
    host_handle: Any = None

    @staticmethod
    def recognises(tensors: Stored) -> bool:
        """Whether these are tensors of this family, under this pack's names."""
        raise TypeError("a family must define recognises")

    @staticmethod
    def build(bag: TensorBag) -> tuple[MappingNetwork, SynthesisNetwork]:
        """Both networks out of a bag of tensors and settings.

        Raises:
            CheckpointError: a tensor is missing or of a wrong shape, a setting out of its range.
        """
        raise TypeError("a family must define build")

    def __init__(self, mapping: MappingNetwork, synthesis: SynthesisNetwork, *, name: str, content_hash: str):
        super().__init__()
        self.mapping, self.synthesis = mapping, synthesis
        self.name, self.content_hash = name, content_hash
        self.z_dim, self.c_dim, self.w_dim = mapping.z_dim, mapping.c_dim, synthesis.w_dim
        self.num_ws, self.noise_shapes = synthesis.num_ws, synthesis.noise_shapes
        self.style_sides = synthesis.style_sides
        self.size, self.img_resolution, self.img_channels = (
            synthesis.size,
            synthesis.img_resolution,
            synthesis.img_channels,
        )
        self.eval().requires_grad_(False)

    @property
    def source(self) -> Path | None:
        """The first of its files; None for a generator that was not loaded from one."""
        return self.files[0] if self.files else None

    @property
    def identity(self) -> dict[str, str]:
        """What reports and pictures say of it."""
        return {"generator": self.name, "generator_hash": self.content_hash}

    @property
    def has_mapping(self) -> bool:
        """False where the checkpoint held only a synthesis network."""
        return not isinstance(self.mapping, MissingMapping)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
        noise_mode: str = "const",
    ) -> Tensor:
        """[B, z_dim] -> [B, C, H, W], about -1..1."""
        ws = self.mapping(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff)
        return self.synthesis(ws, noise_mode=noise_mode)


def channels_last(tensor: Tensor) -> Tensor:
    """[B, C, H, W] in the memory format of its device's features and weights: channels_last, or else contiguous."""
    return tensor.contiguous(memory_format=memory_format(tensor))


def safe_layout(weight: Tensor) -> Tensor:
    """For a convolution: without strides of its own where channels_last is left out, as there are devices (MPS) that
    ignore those of a weight, be it laid out, transposed or expanded.
    """
    return weight if is_enabled("channels_last", weight.device) else weight.contiguous()

"""The interface of a generator: that of NVlabs' G_ema, plus what a search needs.

`G.mapping(z, c) -> ws`, `G.synthesis(ws) -> image`, and the sizes as attributes, as in G_ema. For a search:
`noise_shapes`, noise maps as an input, rendering at low resolution, a name and a content hash.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..checkpoints.stored import Stored
from ..defaults import own_numbers
from ..devices.optimizations import is_enabled, memory_format
from ..errors import SettingError
from .mapping import MappingNetwork, MissingMapping
from .tensors import TensorBag

T = TypeVar("T")

# Arguments of NVlabs' synthesis networks that choose kernels. They are accepted and have no effect here.
_IGNORED_OPTIONS = {"force_fp32", "fused_modconv", "update_emas"}


class SynthesisNetwork(nn.Module):
    """ws -> image. A family implements `render` or `render_low_resolution`; noise modes are common to all.

    Args:
        w_dim, num_ws: length and number of the style vectors.
        size: (height, width) of the image; channels: of the image.
        noise_shapes: (height, width) of each noise input.
        noise_consts: the maps [H, W] that noise_mode "const" uses; None draws one from seed 0.
        style_sides: the longer side, in pixels, of the features that each style vector modulates; None assumes that
            it doubles every two style vectors, up to the image's.

    Attributes:
        can_capture: whether a CUDA graph can capture it; False for networks of other programs.
        has_low_resolution: whether the family defines `render_low_resolution`, at sides up to that of the image.
        recomputes: whether gradient checkpointing is on; see `gradient_checkpointing`.
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
            self.register_buffer(f"noise_const_{index}", noise)  # shape and name that projectors expect

    def render(self, ws: Tensor, noise: Sequence[Tensor | None]) -> Tensor:
        """ws [B, num_ws, w_dim], a noise map [B or 1, 1, H, W] or None for each layer -> [B, C, H, W]."""
        if not self.has_low_resolution:
            raise TypeError(f"{type(self).__name__} must define render")
        return self.render_low_resolution(ws, noise, self.img_resolution)

    def render_low_resolution(self, ws: Tensor, noise: Sequence[Tensor | None], side: int) -> Tensor:
        """Approximates `render` at a lower resolution, for a part of its cost.

        Layers whose features are larger than `side` pixels (a power of two) run on average-pooled features of that
        size, as if features were constant within each pooling window. Gradients of ws and of the coarse noise maps
        are about right; fine detail is missing.
        """
        raise TypeError(f"{type(self).__name__} cannot render at low resolution")

    @own_numbers
    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Sequence[Tensor | None] | None = None,
        generator: torch.Generator | None = None,
        **nvlabs_options: Any,
    ) -> Tensor:
        """Args:
            ws: [B, num_ws, w_dim]; converted to the weights' device and type.
            noise_mode: "const" (the stored maps), "random" or "none".
            noise: maps [B or 1, 1, H, W], one per layer as in `noise_shapes`; None falls back to noise_mode.
            generator: for "random"; None seeds a new one. The global random state is never used.
            nvlabs_options: force_fp32, fused_modconv and update_emas are accepted and ignored.

        Returns: [B, C, H, W], about -1..1, not clamped.

        Raises:
            SettingError: another number of noise maps, or an unknown noise_mode.
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
                f"{len(self.noise_shapes)}, one per layer; None for a stored map.",
                "see noise_shapes for their sizes.",
            )
        return self.render(
            ws, [default if given is None else given for given, default in zip(noise, fallback, strict=True)]
        )

    def with_feature_dtype(self, dtype: torch.dtype) -> SynthesisNetwork:
        """A copy with features of another type: the constant and convolution weights change, affine layers do not."""
        converted = copy.deepcopy(self)
        for module in converted.modules():
            buffers = module.named_buffers(recurse=False, remove_duplicate=False)
            for name, each in (*module.named_parameters(recurse=False), *buffers):
                if each.ndim == 4 or name.endswith("kernel"):
                    data = each.detach().to(dtype)
                    data = channels_last(data) if data.ndim == 4 else data
                    setattr(module, name, nn.Parameter(data, False) if isinstance(each, nn.Parameter) else data)
        return converted

    @contextmanager
    def gradient_checkpointing(self, enabled: bool) -> Iterator[None]:
        """Context manager: the backward pass recomputes the activations inside blocks.

        The backward pass must run inside it too. It takes a part of the memory and up to half more time; results are
        the same to the bit (Chen et al. 2016, arXiv 1604.06174).
        """
        before, self.recomputes = self.recomputes, enabled
        try:
            yield
        finally:
            self.recomputes = before

    def run_block(self, block: Callable[..., T], *inputs: Any) -> T:
        """block(*inputs), with gradient checkpointing if it is on."""
        if self.recomputes and torch.is_grad_enabled():
            result: T = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
            return result
        return block(*inputs)

    def const_noise(self) -> tuple[Tensor, ...]:
        """The stored noise maps, [1, 1, H, W] each."""
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
    """A frozen generator of one family; see the module's docstring for the interface.

    Args:
        name: its name in reports and in metadata.
        content_hash: SHA-256 of the weights, independent of the file format.

    Attributes:
        files: the files it was loaded from; `python -m pulse_core fit` saves its Gaussian fit beside the first.
        place: the prefix of its tensors' names in the file; others: the prefixes of generators beside it.
        assumed: settings of the network that the file does not say, and the defaults that they got.
    """

    family: ClassVar[str]
    files: tuple[Path, ...] = ()
    place: str = ""
    others: tuple[str, ...] = ()
    assumed: Mapping[str, Any] = MappingProxyType({})

    @staticmethod
    def recognises(tensors: Stored) -> bool:
        """Whether these tensors, by this pack's names, are of this family."""
        raise TypeError("a family must define recognises")

    @staticmethod
    def build(bag: TensorBag) -> tuple[MappingNetwork, SynthesisNetwork]:
        """Builds both networks from a checkpoint's tensors and settings.

        Raises:
            CheckpointError: a tensor is missing or of a wrong shape, or a setting out of range.
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
        """The first of its files; None if it was not loaded from a file."""
        return self.files[0] if self.files else None

    @property
    def identity(self) -> dict[str, str]:
        """Its entries in reports and metadata."""
        return {"generator": self.name, "generator_hash": self.content_hash}

    @property
    def has_mapping(self) -> bool:
        """False if the checkpoint held only a synthesis network."""
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
    """[B, C, H, W] in the memory format for its device and type, which is channels_last or contiguous."""
    return tensor.contiguous(memory_format=memory_format(tensor))


def safe_layout(weight: Tensor) -> Tensor:
    """A weight that is safe to pass to a convolution: contiguous on devices without channels_last.

    MPS ignores the strides of a weight, and with them channels_last, transposes and expansions.
    """
    return weight if is_enabled("channels_last", weight.device) else weight.contiguous()

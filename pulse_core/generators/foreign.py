"""Generators loaded by other programs: any object with the interface of NVlabs' G_ema.

That interface has no noise inputs, so a search does not optimise the noise of such a generator.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints.stored import stored
from ..errors import SettingError
from .base import Generator, SynthesisNetwork
from .mapping import MappingNetwork
from .tensors import content_hash

_NUMBERS = ("z_dim", "c_dim", "w_dim", "num_ws", "img_channels")


class ForeignMapping(MappingNetwork):
    """Wraps another program's mapping network."""

    def __init__(self, network: nn.Module, numbers: dict[str, int]):
        w_avg = getattr(network, "w_avg", None)
        z_dim, c_dim, w_dim, num_ws = (numbers[name] for name in ("z_dim", "c_dim", "w_dim", "num_ws"))
        super().__init__(z_dim, c_dim, w_dim, num_ws, w_avg if isinstance(w_avg, Tensor) else None)
        self.network = network

    def map_to_w(self, z: Tensor, c: Tensor | None) -> Tensor:
        return self.network(z, c if c is None else c.to(z))[:, 0]


class ForeignSynthesis(SynthesisNetwork):
    """Wraps another program's synthesis network."""

    can_capture = False

    def __init__(self, network: nn.Module, numbers: dict[str, int], size: tuple[int, int]):
        super().__init__(numbers["w_dim"], numbers["num_ws"], size, numbers["img_channels"])
        self.network = network
        self._options = _float32_option(network)

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Sequence[Tensor | None] | None = None,
        generator: torch.Generator | None = None,
        **nvlabs_options: Any,
    ) -> Tensor:
        """See SynthesisNetwork; `noise` must be empty or None, and `generator` is ignored."""
        ws = ws.to(next(self.parameters()))
        return self.network(ws, noise_mode=noise_mode, **{**self._options, **nvlabs_options}).float()


class ForeignGenerator(Generator):
    """See the module's docstring."""

    family = "foreign"


def adapt(network: Any) -> Generator:
    """Returns a generator of this pack as it is, and wraps one of another program.

    Raises:
        SettingError: the object lacks a part of the interface.
    """
    if isinstance(network, Generator):
        return network
    numbers = {name: value for name in _NUMBERS if isinstance(value := getattr(network, name, None), int)}
    missing = [name for name in _NUMBERS if name not in numbers]
    missing += [name for name in ("mapping", "synthesis") if not isinstance(getattr(network, name, None), nn.Module)]
    if missing:
        raise SettingError(
            f"The object on this input is a {type(network).__name__} without {', '.join(missing)}.",
            "a generator from Load StyleGAN, or one with the interface of NVlabs' G_ema.",
            "connect another loader's STYLEGAN output.",
        )
    mapping = ForeignMapping(network.mapping, numbers)
    size = _image_size(network.synthesis, mapping)
    name = f"{type(network).__name__} of another program"
    digest = content_hash(stored(network.state_dict())) if isinstance(network, nn.Module) else content_hash({})
    return ForeignGenerator(mapping, ForeignSynthesis(network.synthesis, numbers, size), name=name, content_hash=digest)


def _float32_option(synthesis: nn.Module) -> dict[str, bool]:
    """force_fp32=True if the network accepts it: float16 layers are too imprecise for a search."""
    parameters = inspect.signature(synthesis.forward).parameters.values()
    if any(p.name == "force_fp32" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return {"force_fp32": True}
    return {}


def _image_size(synthesis: nn.Module, mapping: ForeignMapping) -> tuple[int, int]:
    """(height, width), found by rendering one image: the interface has no attribute for non-square sizes."""
    like = next(synthesis.parameters())
    ws = torch.zeros(1, mapping.num_ws, mapping.w_dim).to(like)
    with torch.no_grad():
        image = synthesis(ws, noise_mode="const", **_float32_option(synthesis))
    return image.shape[-2], image.shape[-1]

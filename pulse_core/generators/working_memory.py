"""Estimates the memory that a step needs besides the weights, without allocating it.

A copy of the synthesis network on torch's "meta" device runs the step, and the bytes of all live tensors are counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from . import Generator
from .base import SynthesisNetwork

# A factor for what is not counted: the workspace of convolutions, and fragmentation.
_SLACK = 1.25
# Bytes per pixel of the image (a StyleGAN2's), for another pack's network, which may not run on the meta device.
_BYTES_PER_PIXEL = 1500
# Further tensors of the image's size. A search step degrades, compares and enlarges it, each with a gradient.
_IMAGES_PER_STEP, _IMAGES_PER_RENDER = 8, 2

Pass = Callable[[SynthesisNetwork, int], None]
_estimates: WeakKeyDictionary[Generator, dict[tuple[int, int], int]] = WeakKeyDictionary()


def search_memory(generator: Generator, images: int) -> int:
    """Peak bytes besides the weights of a search step at full resolution, forward and backward, for a batch."""
    return _cached_estimate(generator, images, _forward_backward, _IMAGES_PER_STEP)


def render_memory(generator: Generator) -> int:
    """Peak bytes besides the weights of rendering one image without a gradient."""
    return _cached_estimate(generator, 1, _forward, _IMAGES_PER_RENDER)


def _cached_estimate(generator: Generator, images: int, run: Pass, extra_images: int) -> int:
    estimates = _estimates.setdefault(generator, {})
    if (images, extra_images) not in estimates:
        estimates[images, extra_images] = _estimate(generator, images, run, extra_images)
    return estimates[images, extra_images]


def _estimate(generator: Generator, images: int, run: Pass, extra_images: int) -> int:
    height, width = generator.size
    if generator.family == "foreign":
        return images * height * width * _BYTES_PER_PIXEL
    network = _to_meta(generator.synthesis)
    with torch.inference_mode(False), torch.enable_grad(), PeakMemory() as memory:
        run(network, images)
    extra = extra_images * images * generator.img_channels * height * width * 4
    return round(_SLACK * (memory.peak + extra))


def _to_meta(network: SynthesisNetwork) -> SynthesisNetwork:
    """A copy on the meta device; the network itself stays where it is."""
    memo: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = tensor.detach().to("meta")
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    return deepcopy(network, memo)


def _forward_backward(network: SynthesisNetwork, images: int) -> None:
    like = next(network.parameters())
    ws = torch.empty(images, network.num_ws, network.w_dim, device="meta", dtype=like.dtype, requires_grad=True)
    noise = [
        torch.empty(images, 1, *shape, device="meta", dtype=like.dtype, requires_grad=True)
        for shape in network.noise_shapes
    ]
    image = network(ws, noise=noise)
    torch.autograd.grad(image, [ws, *noise], torch.empty_like(image), allow_unused=True)


def _forward(network: SynthesisNetwork, images: int) -> None:
    like = next(network.parameters())
    with torch.no_grad():
        network(torch.empty(images, network.num_ws, network.w_dim, device="meta", dtype=like.dtype))


class PeakMemory(TorchDispatchMode):
    """Context manager that counts the bytes of the meta tensors made inside it, for as long as they live.

    Attributes:
        current, peak: bytes alive now, and at most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        self._storages: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                self._track(tensor.untyped_storage())
        self.peak = max(self.peak, self.current)
        return result

    def _track(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return

        def release(_: Any) -> None:
            self.current -= size
            del self._storages[key]

        self._storages[key] = weakref.ref(storage, release)
        self.current += size

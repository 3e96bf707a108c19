"""How much memory a step takes besides the weights, found out without taking it.

A copy of the synthesis network without numbers (torch's "meta" device) goes through the step, and what is alive at the
same time is counted.
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

from ..generators import Generator
from ..generators.base import SynthesisNetwork

# What is not counted, as a share: the workspace of convolutions, and what lies unused between blocks.
_SLACK = 1.25
_PER_PIXEL = (
    1500  # bytes a pixel of the image, where another program's network cannot go without numbers: a StyleGAN2's
)
# Pictures as large as the image besides: in a step degraded, compared, enlarged, each with its gradient.
_IN_STEP, _IN_DRAWING = 8, 2

Work = Callable[[SynthesisNetwork, int], None]
_estimates: WeakKeyDictionary[Generator, dict[tuple[int, int], int]] = WeakKeyDictionary()


def search_memory(generator: Generator, images: int) -> int:
    """Bytes besides the weights that a step takes at its most: the whole image of each, forward and gradient."""
    return _results(generator, images, _step, _IN_STEP)


def render_memory(generator: Generator) -> int:
    """Bytes besides the weights that drawing one image takes at its most, without a gradient."""
    return _results(generator, 1, _drawing, _IN_DRAWING)


def _results(generator: Generator, images: int, work: Work, pictures: int) -> int:
    estimates = _estimates.setdefault(generator, {})
    if (images, pictures) not in estimates:
        estimates[images, pictures] = _estimate(generator, images, work, pictures)
    return estimates[images, pictures]


def _estimate(generator: Generator, images: int, work: Work, pictures: int) -> int:
    height, width = generator.size
    if generator.family == "foreign":
        return images * height * width * _PER_PIXEL
    network = _to_meta(generator.synthesis)
    with torch.inference_mode(False), torch.enable_grad(), PeakMemory() as alive:
        work(network, images)
    besides = pictures * images * generator.img_channels * height * width * 4
    return round(_SLACK * (alive.peak + besides))


def _to_meta(network: SynthesisNetwork) -> SynthesisNetwork:
    """A copy that takes no memory."""
    memo: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = tensor.detach().to("meta")
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    return deepcopy(network, memo)


def _step(network: SynthesisNetwork, images: int) -> None:
    like = next(network.parameters())
    ws = torch.empty(images, network.num_ws, network.w_dim, device="meta", dtype=like.dtype, requires_grad=True)
    noise = [
        torch.empty(images, 1, *shape, device="meta", dtype=like.dtype, requires_grad=True)
        for shape in network.noise_shapes
    ]
    image = network(ws, noise=noise)
    torch.autograd.grad(image, [ws, *noise], torch.empty_like(image), allow_unused=True)


def _drawing(network: SynthesisNetwork, images: int) -> None:
    like = next(network.parameters())
    with torch.no_grad():
        network(torch.empty(images, network.num_ws, network.w_dim, device="meta", dtype=like.dtype))


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all storages that operations make while it is entered, as long as they live.

    now: bytes at present; most: at their most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                self._track(tensor.untyped_storage())
        self.peak = max(self.peak, self.current)
        return result

    def _track(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def forget(_: Any) -> None:
            self.current -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, forget)
        self.current += size

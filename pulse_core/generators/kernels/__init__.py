"""What layers do between convolutions, in fewer and fused kernels, on CUDA.

One place chooses: `kernels_for(features)` gives the kernels for them, or None where plain torch is to work: on other devices,
for other types and memory formats, without NVRTC, and where the optimization "kernels" is left out. The kernels take
features of one layout, channels_last or contiguous; what is smaller (styles, noise, biases) may be float32 or of the
features' type. Computed is in float32, sums are float32 and the same in every run. All of it can be captured in a CUDA
graph; a kernel is compiled when it is first used (launch.py).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...devices.optimizations import is_enabled
from .launch import TYPES, KernelArgs, Launch, Program

_THREADS = 256  # of a block, as in the source
_BLOCKS_PER_SM = 8  # blocks that a multiprocessor works on at the same time
_ONE_BLOCK_PIXELS = 2048  # pixels that one block sums up alone, which spares the kernel that adds up the slabs' sums
_MIN_UNITS = 4  # units that a thread sums up at least, where there are more blocks
_MAX_PIXELS = 2**31  # pixels
_FACTOR, _NOISE, _STRENGTH, _BIAS, _RESULT, _WEIGHT = 1, 2, 4, 8, 16, 32  # bits of KernelArgs.kinds
_cache: dict[tuple[torch.device, torch.dtype], Kernels | None] = {}
_lock = threading.Lock()


def kernels_for(features: Tensor) -> Kernels | None:
    """The kernels for such features [B, C, H, W], or None for plain torch."""
    if features.device.type != "cuda" or features.dtype not in TYPES or not is_enabled("kernels", features.device):
        return None
    if not _is_supported(features):
        return None
    key = (features.device, features.dtype)
    if key not in _cache:
        with _lock:
            if key not in _cache:
                _cache[key] = _build(*key)
    return _cache[key]


def _is_supported(x: Tensor) -> bool:
    """Whether the kernels know this layout, and count so far."""
    if x.ndim != 4 or not x.numel() or x.shape[2] * x.shape[3] >= _MAX_PIXELS or max(x.shape[:2]) >= 2**16:
        return False
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _build(device: torch.device, dtype: torch.dtype) -> Kernels | None:
    try:
        return Kernels(Program(device, dtype), torch.cuda.get_device_properties(device).multi_processor_count)
    except (OSError, AttributeError, RuntimeError) as error:
        logging.getLogger(__name__).warning(
            "No fused kernels on %s, which makes the search slower and changes nothing else: %s", device, error
        )
        return None


class Epilogue(NamedTuple):
    """What comes behind a convolution: limit(leaky(x * factor + noise * strength + bias)), each part if it is there.

    factor: [B, C, 1, 1]. noise: [B or 1, 1, H, W]. strength: one number, or [1, C, 1, 1]. bias: [C].
    """

    factor: Tensor | None = None
    noise: Tensor | None = None
    strength: Tensor | None = None
    bias: Tensor | None = None
    slope: float = 1.0
    limit: float | None = None

    @property
    def has_effect(self) -> bool:
        """Whether it has any part."""
        parts = (self.factor, self.noise, self.bias, self.limit)
        return self.slope != 1 or any(each is not None for each in parts)


@dataclass(frozen=True)
class _Plan:
    """How features are walked through: by which variant of a kernel, in which blocks."""

    suffix: str
    grid: tuple[int, int, int]
    block: tuple[int, int]
    units: int
    span: int

    @property
    def slabs(self) -> int:
        return self.grid[0]


@dataclass(frozen=True)
class Kernels:
    """Launches the kernels of one device and type of features.

    processors: multiprocessors of the device.
    """

    launch: Launch
    processors: int

    def epilogue(self, x: Tensor, what: Epilogue, *, in_place: bool = False) -> Tensor:
        """x [B, C, H, W] -> the same shape; see Epilogue."""
        out = x if in_place else torch.empty_like(x)
        plan = self._plan(x, [x, out], summed=False)
        operands = _Operands(x.dtype)
        args = operands.args(plan, x.shape, out=out, x=x)
        operands.take(args, what)
        self.launch(f"epilogue{plan.suffix}", plan.grid, plan.block, args)
        return out

    def epilogue_back(
        self, grad: Tensor, y: Tensor, what: Epilogue, *, needs_factor: bool, in_place: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of x and of the factor [B, C, 1, 1], from that of the result y; in place: in grad's memory."""
        grad = to_layout_of(grad, y)
        out = grad if in_place else torch.empty_like(grad)
        plan = self._plan(y, [grad, y, out], summed=needs_factor)
        operands = _Operands(y.dtype)
        args = operands.args(plan, y.shape, out=out, grad=grad, x=y)
        operands.take(args, what)
        sums = self._sums(args, plan, operands, y.shape[:2], what.factor) if needs_factor else None
        self.launch(f"epilogue_back{plan.suffix}", plan.grid, plan.block, args)
        return out, None if sums is None else sums.finish(what.factor)

    def noise_back(self, grad: Tensor, what: Epilogue) -> Tensor:
        """The noise's gradient, from that of x which `epilogue_back` gave."""
        assert what.noise is not None
        assert what.strength is not None
        operands = _Operands(grad.dtype)
        result = operands.empty(what.noise.shape, what.noise)
        channels, pixels = grad.shape[1], grad[0, 0].numel()
        last = _is_channels_last(grad)
        wide = last and channels % _vector_size(grad) == 0 and grad.data_ptr() % 16 == 0
        lanes = min(32, _next_power_of_2(channels // (_vector_size(grad) if wide else 1))) if last else 8
        block = (lanes, _THREADS // lanes)
        a_block = block[1] if last else block[0]
        plan = _Plan(_suffix(last, wide), (-(-pixels // a_block), len(result), 1), block, pixels, pixels)
        args = operands.args(plan, grad.shape, grad=grad)
        operands.take(args, what)
        operands.result(args, result)
        self.launch(f"noise_back{plan.suffix}", plan.grid, block, args)
        return result

    def style_back(
        self, grad: Tensor, x: Tensor, style: Tensor, *, needs_x: bool, in_place: bool
    ) -> tuple[Tensor | None, Tensor]:
        """The gradients of x and of the style [B, C, 1, 1], from that of x * style; in place: in grad's memory."""
        grad = to_layout_of(grad, x)
        out = None if not needs_x else grad if in_place else torch.empty_like(grad)
        plan = self._plan(x, [grad, x], summed=True)
        operands = _Operands(x.dtype)
        args = operands.args(plan, x.shape, out=out, grad=grad, x=x)
        operands.take(args, Epilogue(style))
        sums = self._sums(args, plan, operands, x.shape[:2], style)
        self.launch(f"style_back{plan.suffix}", plan.grid, plan.block, args)
        return out, sums.finish(None)

    def haar(self, bands: Tensor, style: Tensor | None) -> Tensor:
        """bands [B, 4C, H, W] (ll, lh, hl, hh), style [B, 4C, 1, 1] -> [B, C, 2H, 2W]: the inverse, times two."""
        images, channels, height, width = bands.shape
        image = torch.empty(
            (images, channels // 4, 2 * height, 2 * width),
            dtype=bands.dtype,
            device=bands.device,
            memory_format=torch.channels_last if _is_channels_last(bands) else torch.contiguous_format,
        )
        plan = self._plan(bands, [bands, image], summed=False, bands=4)
        operands = _Operands(image.dtype)
        args = operands.args(plan, image.shape, out=image, x=bands)
        args.width, args.strides = width, image.stride()
        operands.take(args, Epilogue(style))
        self.launch(f"haar{plan.suffix}", plan.grid, plan.block, args)
        return image

    def haar_back(self, grad: Tensor, bands: Tensor, style: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The gradients of the bands and of the style, from that of the image.

        bands: without a style, memory for its gradient.
        """
        out = bands if style is None else torch.empty_like(bands)
        plan = self._plan(bands, [bands, out], summed=style is not None, bands=4, beside=[grad])
        operands = _Operands(grad.dtype)
        args = operands.args(plan, grad.shape, out=out, grad=grad, x=bands)
        args.width, args.strides = bands.shape[3], grad.stride()
        operands.take(args, Epilogue(style))
        sums = None if style is None else self._sums(args, plan, operands, bands.shape[:2], style)
        self.launch(f"haar_back{plan.suffix}", plan.grid, plan.block, args)
        return out, None if sums is None else sums.finish(None)

    def supports_depthwise(self, x: Tensor, weight: Tensor) -> bool:
        """Whether `depthwise` knows such features and weights [C, 1, h, w]."""
        return _is_channels_last(x) and tuple(weight.shape[1:]) in ((1, 3, 3), (1, 4, 4))

    def depthwise(
        self,
        x: Tensor,
        weight: Tensor,
        padding: tuple[int, int],
        behind: Epilogue,
        *,
        flipped: bool = False,
        before: Tensor | None = None,
        needs_out: bool = True,
    ) -> tuple[Tensor | None, Tensor | None]:
        """A depthwise convolution of channels_last features, and the epilogue behind it.

        padding: (vertical, horizontal).
        flipped: the weights stand the other way round, as in the adjoint.
        before: [B, C, H', W'], what the convolution gives the gradient of, in case it was multiplied by a style, which
            the epilogue's factor is: then the style's gradient is given, too.
        """
        (images, channels, height_before, width_before), side = x.shape, weight.shape[-1]
        height, width = height_before + 2 * padding[0] - side + 1, width_before + 2 * padding[1] - side + 1
        shape, before = (
            torch.Size((images, channels, height, width)),
            None if before is None else to_layout_of(before, x),
        )
        out = None
        if needs_out:
            out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        piece = 4 * x.element_size()
        wide = channels % 4 == 0 and all(each.data_ptr() % piece == 0 for each in (x, out, before) if each is not None)
        plan, columns, across = self._plan_depthwise(shape, channels // (4 if wide else 1), summed=before is not None)
        operands = _Operands(x.dtype)
        args = operands.args(plan, shape, out=out, grad=before, x=x)
        args.height, args.width, args.height_before, args.width_before = height, width, height_before, width_before
        args.top, args.left, args.columns, args.across, args.flipped = *padding, columns, across, flipped
        operands.take(args, behind)
        operands.weight(args, weight)
        sums = None if before is None else self._sums(args, plan, operands, shape[:2], behind.factor)
        self.launch(f"depthwise_{side}_{'wide' if wide else 'one'}", plan.grid, plan.block, args)
        return out, None if sums is None else sums.finish(None)

    def _plan_depthwise(self, shape: torch.Size, vectors: int, *, summed: bool) -> tuple[_Plan, int, int]:
        """How a depthwise filter walks; the columns of a block, and blocks beside each other."""
        images, _, height, width = shape
        alone = summed and height * width <= _ONE_BLOCK_PIXELS
        lanes = min(_next_power_of_2(vectors), 4 if alone else 32)
        threads = _THREADS // lanes
        columns = min(_next_power_of_2(width), threads)
        across, below = -(-width // columns), threads // columns
        wanted = -(-_BLOCKS_PER_SM * self.processors // (-(-vectors // lanes) * images * across))
        blocks = 1 if alone and across == 1 else max(1, min(wanted, -(-height // (below * _MIN_UNITS))))
        span = -(-height // (below * blocks))
        blocks = -(-height // (below * span))
        return (
            _Plan("", (blocks * across, -(-vectors // lanes), images), (lanes, threads), height * width, span),
            columns,
            across,
        )

    def _plan(
        self, x: Tensor, features: list[Tensor], *, summed: bool, bands: int = 1, beside: list[Tensor] | None = None
    ) -> _Plan:
        """Of x, whose layout all features have; its channels are those of so many bands.

        beside: features that are read by their strides, and forbid to read many channels at once if these are apart.
        """
        images, channels, height, width = x.shape
        last, wide_by = _is_channels_last(x), _vector_size(x)
        channels, pixels = channels // bands, height * width
        wide = (channels if last else pixels) % wide_by == 0 and (last or bands == 1)
        wide = wide and all(each.data_ptr() % 16 == 0 for each in [*features, *(beside or ())])
        wide = wide and all(each.stride(1) == 1 and each.stride(3) % wide_by == 0 for each in beside or ())
        vectors, units = channels // (wide_by if wide and last else 1), pixels // (wide_by if wide and not last else 1)
        if not last:
            lanes = 1
        elif summed and units <= _ONE_BLOCK_PIXELS:
            lanes = min(_next_power_of_2(vectors), 2 if wide else 8)  # 32 bytes are read in one piece
        else:
            lanes = min(_next_power_of_2(vectors), 32)
        rows = _THREADS // lanes if last else max(32, min(_THREADS, _next_power_of_2(units)))
        across = -(-vectors // lanes)
        wanted = -(-_BLOCKS_PER_SM * self.processors // (across * images))
        possible = -(-units // (rows * _MIN_UNITS if summed else rows))
        slabs = 1 if summed and units <= _ONE_BLOCK_PIXELS else max(1, min(wanted, possible))
        span = -(-units // slabs)
        return _Plan(_suffix(last, wide), (-(-units // span), across, images), (lanes, rows), units, span)

    def _sums(
        self, args: KernelArgs, plan: _Plan, operands: _Operands, shape: Sequence[int], like: Tensor | None
    ) -> _PartialSums:
        """Says in `args` where the sums for each image and channel go."""
        assert like is not None
        result = operands.empty((*shape, 1, 1), like)
        if plan.slabs == 1:
            operands.result(args, result)
            return _PartialSums(self, operands, result, None)
        partial = torch.empty((plan.slabs, result.numel()), dtype=torch.float32, device=like.device)
        args.partial = partial.data_ptr()
        return _PartialSums(self, operands, result, partial)


class _PartialSums(NamedTuple):
    """The sums of slabs, partial [slabs, B * C], on their way into the result [B, C, 1, 1]; None: they are there."""

    kernels: Kernels
    operands: _Operands
    result: Tensor
    partial: Tensor | None

    def finish(self, divisor: Tensor | None) -> Tensor:
        """The whole sums, divided; where there is one slab, they are already."""
        if self.partial is None:
            return self.result
        slabs, count = self.partial.shape
        args = KernelArgs(partial=self.partial.data_ptr(), channels=count, units=slabs)
        self.operands.take(args, Epilogue(divisor))
        self.operands.result(args, self.result)
        self.kernels.launch("finish", (-(-count // 4), 1, 1), (4, _THREADS // 4), args)  # few of many slabs each
        return self.result


class _Operands:
    """The small operands of one launch, as they have to lie; to be kept until it is launched."""

    def __init__(self, dtype: torch.dtype):
        self._dtype = dtype
        self._kept: list[Tensor] = []

    def args(
        self,
        plan: _Plan,
        shape: torch.Size,
        *,
        out: Tensor | None = None,
        grad: Tensor | None = None,
        x: Tensor | None = None,
    ) -> KernelArgs:
        """For features of that shape."""
        given = {"out": out, "grad": grad, "x": x}
        pointers = {name: each.data_ptr() for name, each in given.items() if each is not None}
        return KernelArgs(
            **pointers, images=shape[0], channels=shape[1], units=plan.units, span=plan.span, slope=1, limit=-1
        )

    def take(self, args: KernelArgs, what: Epilogue) -> None:
        """Points to them."""
        args.slope, args.limit = what.slope, -1 if what.limit is None else what.limit
        if what.factor is not None:
            args.factor = self._pointer(args, what.factor, _FACTOR)
        if what.bias is not None:
            args.bias = self._pointer(args, what.bias, _BIAS)
        if what.noise is not None and what.strength is not None:
            args.noise = self._pointer(args, what.noise, _NOISE)
            args.noise_step = what.noise[0].numel() if len(what.noise) > 1 else 0
            args.strength = self._pointer(args, what.strength, _STRENGTH)
            args.strength_step = int(what.strength.numel() > 1)

    def empty(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """For sums, of the type that the gradient of such an operand has, if a kernel can write it."""
        dtype = like.dtype if like.dtype == self._dtype else torch.float32
        return torch.empty(tuple(shape), dtype=dtype, device=like.device)

    def weight(self, args: KernelArgs, weight: Tensor) -> None:
        """Points to a filter."""
        args.weight = self._pointer(args, weight, _WEIGHT)

    def result(self, args: KernelArgs, result: Tensor) -> None:
        """Points to where sums go."""
        args.result = self._pointer(args, result, _RESULT)

    def _pointer(self, args: KernelArgs, small: Tensor, bit: int) -> int:
        small = (small if small.dtype in (torch.float32, self._dtype) else small.float()).contiguous()
        self._kept.append(small)
        args.kinds |= bit if small.dtype == torch.float32 else 0
        return small.data_ptr()


def to_layout_of(x: Tensor, other: Tensor) -> Tensor:
    """x, laid out as the other; itself where it is already."""
    return x.contiguous(memory_format=torch.channels_last if _is_channels_last(other) else torch.contiguous_format)


def _is_channels_last(x: Tensor) -> bool:
    """Whether it is laid out as channels_last; of one channel, or one pixel, both are the same."""
    return x.is_contiguous(memory_format=torch.channels_last) and (x.shape[1] > 1 or not x.is_contiguous())


def _suffix(last: bool, wide: bool) -> str:
    return ("_last_wide" if wide else "_last") if last else ("_wide" if wide else "_one")


def _vector_size(x: Tensor) -> int:
    """Numbers in the 16 bytes that a thread reads at once."""
    return 16 // x.element_size()


def _next_power_of_2(count: int) -> int:
    """The power of two that is not less."""
    return 1 << (count - 1).bit_length()

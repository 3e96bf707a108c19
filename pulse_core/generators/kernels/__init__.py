"""Fused CUDA kernels for the elementwise operations and sums between convolutions.

`kernels_for(features)` returns the kernels to use, or None for plain torch: on other devices, for other types and
memory formats, without NVRTC, or if the optimization "kernels" is off. Features are channels_last or contiguous; small
operands (styles, noise, biases) are float32 or of the features' type. Arithmetic is in float32, and sums are
deterministic. All kernels can be captured in a CUDA graph. A kernel is compiled when first used (launch.py).
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
from .operands import Epilogue, Operands, Plan

_THREADS = 256  # per block, as in features.cu
_BLOCKS_PER_SM = 8  # resident blocks per multiprocessor
_ONE_BLOCK_PIXELS = 2048  # up to so many pixels, one block sums alone and no `finish` kernel is needed
_MIN_UNITS = 4  # units that a thread sums at least, if there are several blocks
_MAX_PIXELS = 2**31
_cache: dict[tuple[torch.device, torch.dtype], Kernels | None] = {}
_lock = threading.Lock()


def kernels_for(features: Tensor) -> Kernels | None:
    """The kernels for features [B, C, H, W], or None if plain torch is to be used."""
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
    """Whether the kernels support this memory format and size."""
    if x.ndim != 4 or not x.numel() or x.shape[2] * x.shape[3] >= _MAX_PIXELS or max(x.shape[:2]) >= 2**16:
        return False
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _build(device: torch.device, dtype: torch.dtype) -> Kernels | None:
    try:
        return Kernels(Program(device, dtype), torch.cuda.get_device_properties(device).multi_processor_count)
    except (OSError, AttributeError, RuntimeError) as error:
        logging.getLogger(__name__).warning(
            "No fused kernels on %s; the search is slower, with the same results: %s", device, error
        )
        return None


@dataclass(frozen=True)
class Kernels:
    """Launches the kernels of one device and type of features.

    multiprocessors: their number on the device.
    """

    launch: Launch
    multiprocessors: int

    def epilogue(self, x: Tensor, epilogue: Epilogue, *, in_place: bool = False) -> Tensor:
        """x [B, C, H, W] -> the same shape; see Epilogue."""
        out = x if in_place else torch.empty_like(x)
        plan = self._plan(x, [x, out], summed=False)
        operands = Operands(x.dtype)
        args = operands.args(plan, x.shape, out=out, x=x)
        operands.set_epilogue(args, epilogue)
        self.launch(f"epilogue{plan.suffix}", plan.grid, plan.block, args)
        return out

    def epilogue_back(
        self, grad: Tensor, y: Tensor, epilogue: Epilogue, *, needs_factor: bool, in_place: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of x and of the factor [B, C, 1, 1], from that of the result y. in_place overwrites grad."""
        grad = to_layout_of(grad, y)
        out = grad if in_place else torch.empty_like(grad)
        plan = self._plan(y, [grad, y, out], summed=needs_factor)
        operands = Operands(y.dtype)
        args = operands.args(plan, y.shape, out=out, grad=grad, x=y)
        operands.set_epilogue(args, epilogue)
        sums = self._sums(args, plan, operands, y.shape[:2], epilogue.factor) if needs_factor else None
        self.launch(f"epilogue_back{plan.suffix}", plan.grid, plan.block, args)
        return out, None if sums is None else sums.finish(epilogue.factor)

    def noise_back(self, grad: Tensor, epilogue: Epilogue) -> Tensor:
        """The gradient of the noise, from that of x, which `epilogue_back` returns."""
        assert epilogue.noise is not None
        assert epilogue.strength is not None
        operands = Operands(grad.dtype)
        result = operands.empty(epilogue.noise.shape, epilogue.noise)
        channels, pixels = grad.shape[1], grad[0, 0].numel()
        last = _is_channels_last(grad)
        wide = last and channels % _vector_size(grad) == 0 and grad.data_ptr() % 16 == 0
        lanes = min(32, _next_power_of_2(channels // (_vector_size(grad) if wide else 1))) if last else 8
        block = (lanes, _THREADS // lanes)
        a_block = block[1] if last else block[0]
        plan = Plan(_suffix(last, wide), (-(-pixels // a_block), len(result), 1), block, pixels, pixels)
        args = operands.args(plan, grad.shape, grad=grad)
        operands.set_epilogue(args, epilogue)
        operands.set_result(args, result)
        self.launch(f"noise_back{plan.suffix}", plan.grid, block, args)
        return result

    def style_back(
        self, grad: Tensor, x: Tensor, style: Tensor, *, needs_x: bool, in_place: bool
    ) -> tuple[Tensor | None, Tensor]:
        """The gradients of x and of the style [B, C, 1, 1], from that of x * style. in_place overwrites grad."""
        grad = to_layout_of(grad, x)
        out = None if not needs_x else grad if in_place else torch.empty_like(grad)
        plan = self._plan(x, [grad, x], summed=True)
        operands = Operands(x.dtype)
        args = operands.args(plan, x.shape, out=out, grad=grad, x=x)
        operands.set_epilogue(args, Epilogue(style))
        sums = self._sums(args, plan, operands, x.shape[:2], style)
        self.launch(f"style_back{plan.suffix}", plan.grid, plan.block, args)
        return out, sums.finish(None)

    def haar(self, bands: Tensor, style: Tensor | None) -> Tensor:
        """bands [B, 4C, H, W] (ll, lh, hl, hh), style [B, 4C, 1, 1] -> [B, C, 2H, 2W]: the inverse, times 2."""
        images, channels, height, width = bands.shape
        image = torch.empty(
            (images, channels // 4, 2 * height, 2 * width),
            dtype=bands.dtype,
            device=bands.device,
            memory_format=torch.channels_last if _is_channels_last(bands) else torch.contiguous_format,
        )
        plan = self._plan(bands, [bands, image], summed=False, bands=4)
        operands = Operands(image.dtype)
        args = operands.args(plan, image.shape, out=image, x=bands)
        args.width, args.strides = width, image.stride()
        operands.set_epilogue(args, Epilogue(style))
        self.launch(f"haar{plan.suffix}", plan.grid, plan.block, args)
        return image

    def haar_back(self, grad: Tensor, bands: Tensor, style: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The gradients of the bands and of the style, from that of the image.

        bands: without a style only its memory is used, for its gradient.
        """
        out = bands if style is None else torch.empty_like(bands)
        plan = self._plan(bands, [bands, out], summed=style is not None, bands=4, strided=[grad])
        operands = Operands(grad.dtype)
        args = operands.args(plan, grad.shape, out=out, grad=grad, x=bands)
        args.width, args.strides = bands.shape[3], grad.stride()
        operands.set_epilogue(args, Epilogue(style))
        sums = None if style is None else self._sums(args, plan, operands, bands.shape[:2], style)
        self.launch(f"haar_back{plan.suffix}", plan.grid, plan.block, args)
        return out, None if sums is None else sums.finish(None)

    def supports_depthwise(self, x: Tensor, weight: Tensor) -> bool:
        """Whether `depthwise` supports these features and weights [C, 1, h, w]."""
        return _is_channels_last(x) and tuple(weight.shape[1:]) in ((1, 3, 3), (1, 4, 4))

    def depthwise(
        self,
        x: Tensor,
        weight: Tensor,
        padding: tuple[int, int],
        epilogue: Epilogue,
        *,
        flipped: bool = False,
        conv_input: Tensor | None = None,
        needs_out: bool = True,
    ) -> tuple[Tensor | None, Tensor | None]:
        """A depthwise convolution of channels_last features, with an epilogue.

        padding: (vertical, horizontal).
        flipped: flip the weights, as the adjoint does.
        conv_input: [B, C, H', W'], if this is the adjoint of a convolution of conv_input * style. The epilogue's factor
            is then the style, whose gradient is returned too.
        """
        (images, channels, in_height, in_width), side = x.shape, weight.shape[-1]
        height, width = in_height + 2 * padding[0] - side + 1, in_width + 2 * padding[1] - side + 1
        shape = torch.Size((images, channels, height, width))
        conv_input = None if conv_input is None else to_layout_of(conv_input, x)
        out = None
        if needs_out:
            out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        vector_bytes = 4 * x.element_size()
        wide = channels % 4 == 0 and all(
            each.data_ptr() % vector_bytes == 0 for each in (x, out, conv_input) if each is not None
        )
        plan, columns, blocks_across = self._plan_depthwise(
            shape, channels // (4 if wide else 1), summed=conv_input is not None
        )
        operands = Operands(x.dtype)
        args = operands.args(plan, shape, out=out, grad=conv_input, x=x)
        args.height, args.width, args.in_height, args.in_width = height, width, in_height, in_width
        args.top, args.left, args.columns, args.across, args.flipped = *padding, columns, blocks_across, flipped
        operands.set_epilogue(args, epilogue)
        operands.set_weight(args, weight)
        sums = None if conv_input is None else self._sums(args, plan, operands, shape[:2], epilogue.factor)
        self.launch(f"depthwise_{side}_{'wide' if wide else 'one'}", plan.grid, plan.block, args)
        return out, None if sums is None else sums.finish(None)

    def _plan_depthwise(self, shape: torch.Size, vectors: int, *, summed: bool) -> tuple[Plan, int, int]:
        """The launch of `depthwise`, the columns per block, and the number of blocks side by side."""
        images, _, height, width = shape
        alone = summed and height * width <= _ONE_BLOCK_PIXELS
        lanes = min(_next_power_of_2(vectors), 4 if alone else 32)
        threads = _THREADS // lanes
        columns = min(_next_power_of_2(width), threads)
        blocks_across, rows_below = -(-width // columns), threads // columns
        wanted = -(-_BLOCKS_PER_SM * self.multiprocessors // (-(-vectors // lanes) * images * blocks_across))
        blocks = 1 if alone and blocks_across == 1 else max(1, min(wanted, -(-height // (rows_below * _MIN_UNITS))))
        span = -(-height // (rows_below * blocks))
        blocks = -(-height // (rows_below * span))
        return (
            Plan("", (blocks * blocks_across, -(-vectors // lanes), images), (lanes, threads), height * width, span),
            columns,
            blocks_across,
        )

    def _plan(
        self, x: Tensor, features: list[Tensor], *, summed: bool, bands: int = 1, strided: list[Tensor] | None = None
    ) -> Plan:
        """The launch for x and for features of the same memory format; its channels are those of `bands` bands.

        strided: features that are read by their strides, so vectors must be contiguous in them.
        """
        images, channels, height, width = x.shape
        last, vector_size = _is_channels_last(x), _vector_size(x)
        channels, pixels = channels // bands, height * width
        wide = (channels if last else pixels) % vector_size == 0 and (last or bands == 1)
        wide = wide and all(each.data_ptr() % 16 == 0 for each in [*features, *(strided or ())])
        wide = wide and all(each.stride(1) == 1 and each.stride(3) % vector_size == 0 for each in strided or ())
        vectors, units = (
            channels // (vector_size if wide and last else 1),
            pixels // (vector_size if wide and not last else 1),
        )
        if not last:
            lanes = 1
        elif summed and units <= _ONE_BLOCK_PIXELS:
            lanes = min(_next_power_of_2(vectors), 2 if wide else 8)  # memory is read in sectors of 32 bytes
        else:
            lanes = min(_next_power_of_2(vectors), 32)
        rows = _THREADS // lanes if last else max(32, min(_THREADS, _next_power_of_2(units)))
        blocks_across = -(-vectors // lanes)
        wanted = -(-_BLOCKS_PER_SM * self.multiprocessors // (blocks_across * images))
        possible = -(-units // (rows * _MIN_UNITS if summed else rows))
        slabs = 1 if summed and units <= _ONE_BLOCK_PIXELS else max(1, min(wanted, possible))
        span = -(-units // slabs)
        return Plan(_suffix(last, wide), (-(-units // span), blocks_across, images), (lanes, rows), units, span)

    def _sums(
        self, args: KernelArgs, plan: Plan, operands: Operands, shape: Sequence[int], like: Tensor | None
    ) -> _PartialSums:
        """Allocates the sums for each image and channel, and sets their addresses in `args`."""
        assert like is not None
        result = operands.empty((*shape, 1, 1), like)
        if plan.slabs == 1:
            operands.set_result(args, result)
            return _PartialSums(self, operands, result, None)
        partial = torch.empty((plan.slabs, result.numel()), dtype=torch.float32, device=like.device)
        args.partial = partial.data_ptr()
        return _PartialSums(self, operands, result, partial)


class _PartialSums(NamedTuple):
    """The sums of each slab, [slabs, B * C], and the result [B, C, 1, 1]; partial is None if there is one slab."""

    kernels: Kernels
    operands: Operands
    result: Tensor
    partial: Tensor | None

    def finish(self, divisor: Tensor | None) -> Tensor:
        """The sums over all slabs, divided by `divisor`; with one slab the kernel did this already."""
        if self.partial is None:
            return self.result
        slabs, count = self.partial.shape
        args = KernelArgs(partial=self.partial.data_ptr(), channels=count, units=slabs)
        self.operands.set_epilogue(args, Epilogue(divisor))
        self.operands.set_result(args, self.result)
        grid, block = (-(-count // 4), 1, 1), (4, _THREADS // 4)  # few channels with many slabs each
        self.kernels.launch("finish", grid, block, args)
        return self.result


def to_layout_of(x: Tensor, other: Tensor) -> Tensor:
    """x in the memory format of `other`; x itself if it has it already."""
    return x.contiguous(memory_format=torch.channels_last if _is_channels_last(other) else torch.contiguous_format)


def _is_channels_last(x: Tensor) -> bool:
    """Whether x is channels_last. With a single channel, where both formats agree, it counts as contiguous."""
    return x.is_contiguous(memory_format=torch.channels_last) and (x.shape[1] > 1 or not x.is_contiguous())


def _suffix(last: bool, wide: bool) -> str:
    return ("_last_wide" if wide else "_last") if last else ("_wide" if wide else "_one")


def _vector_size(x: Tensor) -> int:
    """Elements in the 16 bytes that a thread reads at once."""
    return 16 // x.element_size()


def _next_power_of_2(count: int) -> int:
    """The smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()

"""The epilogue of a convolution, the grid of a launch, and the operands that a kernel receives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .launch import KernelArgs

_FACTOR, _NOISE, _STRENGTH, _BIAS, _RESULT, _WEIGHT = 1, 2, 4, 8, 16, 32  # bits of KernelArgs.kinds


class Epilogue(NamedTuple):
    """The operations after a convolution, clamp(leaky(x * factor + noise * strength + bias)); each part is optional.

    factor: [B, C, 1, 1]. noise: [B or 1, 1, H, W]. strength: a scalar or [1, C, 1, 1]. bias: [C].
    """

    factor: Tensor | None = None
    noise: Tensor | None = None
    strength: Tensor | None = None
    bias: Tensor | None = None
    slope: float = 1.0
    limit: float | None = None

    @property
    def has_effect(self) -> bool:
        """Whether any part is given."""
        parts = (self.factor, self.noise, self.bias, self.limit)
        return self.slope != 1 or any(each is not None for each in parts)


@dataclass(frozen=True)
class Plan:
    """The variant of a kernel (suffix), grid and block, units per channel, and units per block (span)."""

    suffix: str
    grid: tuple[int, int, int]
    block: tuple[int, int]
    units: int
    span: int

    @property
    def slabs(self) -> int:
        return self.grid[0]


class Operands:
    """The small operands of one launch, in a supported type and layout. Keeps them alive until the launch."""

    def __init__(self, dtype: torch.dtype):
        self._dtype = dtype
        self._kept: list[Tensor] = []

    def args(
        self,
        plan: Plan,
        shape: torch.Size,
        *,
        out: Tensor | None = None,
        grad: Tensor | None = None,
        x: Tensor | None = None,
    ) -> KernelArgs:
        """The arguments for features of this shape."""
        given = {"out": out, "grad": grad, "x": x}
        pointers = {name: each.data_ptr() for name, each in given.items() if each is not None}
        return KernelArgs(
            **pointers, images=shape[0], channels=shape[1], units=plan.units, span=plan.span, slope=1, limit=-1
        )

    def set_epilogue(self, args: KernelArgs, epilogue: Epilogue) -> None:
        """Sets the operands of an epilogue."""
        args.slope, args.limit = epilogue.slope, -1 if epilogue.limit is None else epilogue.limit
        if epilogue.factor is not None:
            args.factor = self._pointer(args, epilogue.factor, _FACTOR)
        if epilogue.bias is not None:
            args.bias = self._pointer(args, epilogue.bias, _BIAS)
        if epilogue.noise is not None and epilogue.strength is not None:
            args.noise = self._pointer(args, epilogue.noise, _NOISE)
            args.noise_step = epilogue.noise[0].numel() if len(epilogue.noise) > 1 else 0
            args.strength = self._pointer(args, epilogue.strength, _STRENGTH)
            args.strength_step = int(epilogue.strength.numel() > 1)

    def empty(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Memory for sums, in the type of the operand whose gradient they are, if the kernels can write it."""
        dtype = like.dtype if like.dtype == self._dtype else torch.float32
        return torch.empty(tuple(shape), dtype=dtype, device=like.device)

    def set_weight(self, args: KernelArgs, weight: Tensor) -> None:
        """Sets the weight of a depthwise convolution."""
        args.weight = self._pointer(args, weight, _WEIGHT)

    def set_result(self, args: KernelArgs, result: Tensor) -> None:
        """Sets the address of the sums."""
        args.result = self._pointer(args, result, _RESULT)

    def _pointer(self, args: KernelArgs, small: Tensor, bit: int) -> int:
        small = (small if small.dtype in (torch.float32, self._dtype) else small.float()).contiguous()
        self._kept.append(small)
        args.kinds |= bit if small.dtype == torch.float32 else 0
        return small.data_ptr()

"""Evaluations that are captured once and replayed: on CUDA, some hundred small kernels are bound by their launches.

A captured function reads tensors at fixed addresses: a run's variables, its target, the scale of the likelihood. The
first call runs it plainly, while torch chooses and compiles its kernels; the second captures it as a CUDA graph; all
others replay that. The results are at the same addresses each time.

Only what is the same at each call can be captured: no number read from the device, no copy from the CPU's memory, no
Python number that changes. `tests/tape.py` checks that on a CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch

from ..degradations.separable import cached_matrices
from ..devices.device import is_out_of_memory
from ..devices.optimizations import is_enabled

T = TypeVar("T")
_log = logging.getLogger(__name__)
_logged: set[str] = set()  # why something could not be captured, each once


class Recorder(Protocol):
    """Captures a call, and repeats its work on the same memory."""

    def record(self, function: Callable[[], T]) -> T:
        """Its result, whose numbers count only after `replay`.

        Raises:
            RuntimeError: it cannot be captured.
        """

    def replay(self) -> None:
        """Does the work again."""


class CudaGraph:
    """A Recorder on CUDA.

    Args:
        pool: the memory that graphs share whose intermediate results need not outlive a replay.
    """

    def __init__(self, pool: Any):
        self._graph, self._pool = torch.cuda.CUDAGraph(), pool

    def record(self, function: Callable[[], T]) -> T:
        """See Recorder. By hand: torch.cuda.graph would collect garbage and empty the cache first, for 0.1 s."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # thread_local: a host may use CUDA in other threads meanwhile
            self._graph.capture_begin(self._pool, capture_error_mode="thread_local")
            try:
                result = function()
            finally:
                self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def replay(self) -> None:
        """See Recorder."""
        self._graph.replay()


def recorders(device: torch.device) -> Callable[[], Recorder] | None:
    """Makes recorders that share their memory; None where nothing is captured."""
    if device.type != "cuda" or not is_enabled("graphs", device):
        return None
    pool = torch.cuda.graph_pool_handle()
    return lambda: CudaGraph(pool)


class Captured(Generic[T]):
    """A function, captured at its second call or later."""

    def __init__(self, function: Callable[..., T], device: torch.device):
        self._function, self._device = function, device
        self._is_warm = self._cannot = False
        self._recorder: Recorder | None = None
        self._result: T
        self._kept: list[torch.Tensor] = []

    def __call__(self, new_recorder: Callable[[], Recorder] | None, *arguments: Any) -> T:
        """The function's result.

        Args:
            new_recorder: captures, if nothing was captured yet; None calls the function.
            arguments: of the function, the same at each call.
        """
        if self._recorder is None:
            if new_recorder is not None and self._is_warm and not self._cannot:
                self._capture(new_recorder(), arguments)
            self._is_warm = True
        if self._recorder is None:
            return self._function(*arguments)
        self._recorder.replay()
        return self._result

    def _capture(self, recorder: Recorder, arguments: tuple[Any, ...]) -> None:
        try:
            self._result = recorder.record(partial(self._function, *arguments))
        except RuntimeError as error:
            self._cannot = True
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if not is_out_of_memory(error) and reason not in _logged:
                _logged.add(reason)
                _log.warning("PULSE: a step cannot be captured on %s, and is launched anew (%s).", self._device, reason)
            return
        self._recorder, self._kept = recorder, cached_matrices()

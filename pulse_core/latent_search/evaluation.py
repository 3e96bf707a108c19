"""Evaluations of an iterate: A(G(w, n)), the objective and its gradient, at full or at low resolution.

Each kind of evaluation is captured once and replayed where the device can (captured.py), so everything here stays at
fixed addresses and nothing reads a number from the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..degradations import Degradation
from ..generators import Generator
from ..pictures.images import to_picture
from .captured import Captured, Recorder, recorders
from .low_resolution import LowResolution
from .objective import Objective
from .termination import Termination
from .variables import Variables


class Outcome(NamedTuple):
    """Of one evaluation, detached; see objective.Value.

    ws: [B, num_ws, w_dim]. measured: A(G(w, n)), [B, C, h, w]. error: [B], see Termination.error.
    image: [B, C, H, W] in 0..1, at full resolution only. gradients: of each variable, where asked for.
    """

    ws: Tensor
    measured: Tensor
    terms: dict[str, Tensor]
    data: Tensor
    penalty: Tensor
    objective: Tensor
    error: Tensor
    image: Tensor | None
    gradients: tuple[Tensor | None, ...]


class Evaluator:
    """Evaluates a batch of searches.

    Args:
        recompute: computes the generator's layers again for the gradient instead of keeping them.

    Attributes:
        captures: whether evaluations are captured, where that is possible.
    """

    def __init__(
        self,
        generator: Generator,
        degradation: Degradation,
        variables: Variables,
        objective: Objective,
        termination: Termination,
        low: LowResolution,
        *,
        recompute: bool,
    ):
        self._synthesis, self._degradation, self._variables = generator.synthesis, degradation, variables
        self._objective, self._termination, self._low = objective, termination, low
        self._recompute = recompute
        self._device = variables.all[0].value.device
        can_capture = generator.synthesis.can_capture and not recompute
        self._new_recorder = recorders(self._device) if can_capture else None
        self.captures = True
        self._captured: dict[Any, Captured[Outcome]] = {}

    def full(self, *, gradient: bool) -> Outcome:
        """Renders the generator's own resolution."""
        return self._replay(("full", gradient), self._full, gradient)

    def low(self, full: Outcome | None) -> Outcome:
        """Renders the size that `low` has chosen, with the gradient.

        Args:
            full: of the same iterate, where there is one, which corrects this evaluation and those that follow.
        """
        with self._low.anchored(None if full is None else full.measured):
            return self._replay(("low", self._low.side), self._at_low_resolution)

    def _replay(self, key: Any, function: Callable[..., Outcome], *arguments: Any) -> Outcome:
        if key not in self._captured:
            self._captured[key] = Captured(function, self._device)
        recorder: Callable[[], Recorder] | None = self._new_recorder if self.captures else None
        return self._captured[key](recorder, *arguments)

    def _full(self, gradient: bool) -> Outcome:
        with torch.set_grad_enabled(gradient), self._synthesis.gradient_checkpointing(self._recompute):
            ws = self._variables.prior.ws()
            image = to_picture(self._synthesis(ws, noise=self._variables.noise))
            outcome = self._outcome(ws, self._degradation.forward(image), gradient=gradient)
        with torch.no_grad():
            shown = image.clamp(0, 1)  # what is returned; colours out of range must not count as found
            error = self._termination.error(self._degradation.forward(shown))
        return outcome._replace(image=shown, error=error)

    def _at_low_resolution(self) -> Outcome:
        with torch.enable_grad():
            ws = self._variables.prior.ws()
            return self._outcome(ws, self._low.forward(ws, self._variables.noise), gradient=True)

    def _outcome(self, ws: Tensor, measured: Tensor, *, gradient: bool) -> Outcome:
        value = self._objective(measured, ws)
        gradients: tuple[Tensor | None, ...] = ()
        if gradient:
            variables = [variable.value for variable in self._variables.all]
            gradients = torch.autograd.grad(value.total.sum(), variables, allow_unused=True)
        with torch.no_grad():
            error = self._termination.error(measured)
        terms = {name: term.detach() for name, term in value.terms.items()}
        numbers = (value.data.detach(), value.penalty.detach(), value.total.detach())
        return Outcome(ws.detach(), measured.detach(), terms, *numbers, error, None, gradients)

"""First-order optimisers that update every element alone, so that the images of a batch do not interact.

To add one: one entry in OPTIMIZERS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..latents.spaces import project_to_sphere, radius
from .priors import Variable

OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], float], Optimizer]] = {
    "adam": lambda variables, rate: torch.optim.Adam(variables, lr=rate),
    "sgd": lambda variables, rate: torch.optim.SGD(variables, lr=rate),
    "sgdm": lambda variables, rate: torch.optim.SGD(variables, lr=rate, momentum=0.9),
    "adamax": lambda variables, rate: torch.optim.Adamax(variables, lr=rate),
}


class SphericalOptimizer:
    """One of OPTIMIZERS, with variables on spheres projected back after every step (PULSE, section 3.2).

    As published, neither gradients nor moments are projected onto the tangent space.

    Args:
        name: a key of OPTIMIZERS.
        variables: each with its own rate and opening.
    """

    def __init__(self, name: str, variables: Sequence[Variable], learning_rate: float):
        self._variables = list(variables)
        self.values = [variable.value for variable in variables]
        self._radii = [radius(variable.value.detach()) for variable in variables]
        # one group for each rate: on a GPU torch steps a group at once
        self._rates = sorted({variable.rate for variable in variables})
        groups = [[each.value for each in variables if each.rate == rate] for rate in self._rates]
        self._inner = OPTIMIZERS[name]([{"params": values} for values in groups], learning_rate)

    def step(self, gradients: Sequence[Tensor | None], learning_rate: float, progress: float) -> None:
        """One step, then the projection onto the spheres.

        Args:
            gradients: of the variables, in their order; None leaves one unchanged.
            progress: the share of the steps taken; variables that open later stay fixed.
        """
        for rate, group in zip(self._rates, self._inner.param_groups, strict=True):
            group["lr"] = learning_rate * rate
        for variable, gradient in zip(self._variables, gradients, strict=True):
            variable.value.grad = gradient if progress >= variable.opens else None  # None also leaves its moments alone
        self._inner.step()
        for variable, radii in zip(self._variables, self._radii, strict=True):
            if variable.on_sphere:
                project_to_sphere(variable.value, radii)

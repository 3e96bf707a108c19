"""First-order optimisers, each working on every element alone, so that images in a batch do not meet.

To add one: one entry in OPTIMIZERS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..latents import project_to_sphere, radius

OPTIMIZERS: dict[str, Callable[[Sequence[Tensor], float], Optimizer]] = {
    "adam": lambda variables, rate: torch.optim.Adam(variables, lr=rate),
    "sgd": lambda variables, rate: torch.optim.SGD(variables, lr=rate),
    "sgdm": lambda variables, rate: torch.optim.SGD(variables, lr=rate, momentum=0.9),
    "adamax": lambda variables, rate: torch.optim.Adamax(variables, lr=rate),
}


class SphericalOptimizer:
    """Any of OPTIMIZERS, with each variable put back on the sphere of its first norm after every step.

    As published, the gradient and the moments are not projected onto the tangent space.

    Args:
        name: a key of OPTIMIZERS.
        variables: [B, L, ...] tensors; every x[b, l] keeps its norm.
    """

    def __init__(self, name: str, variables: Sequence[Tensor], learning_rate: float):
        self.variables = list(variables)
        self.radii = [radius(x.detach()) for x in self.variables]
        self._inner = OPTIMIZERS[name](self.variables, learning_rate)

    def step(self, gradients: Sequence[Tensor], learning_rate: float) -> None:
        """One step along these gradients at this learning rate, then back onto the spheres."""
        for group in self._inner.param_groups:
            group["lr"] = learning_rate
        for x, gradient in zip(self.variables, gradients, strict=True):
            x.grad = gradient
        self._inner.step()
        for x, radii in zip(self.variables, self.radii, strict=True):
            project_to_sphere(x, radii)

"""What is minimised: the negative log-posterior of w and n.

    lambda_t L(A(G(w, n)), y) - log p(w) - log p(n),    lambda_t = N / (2 sigma_t^2)

L is a loss that is a mean over the N values of y, so that lambda_t L is a negative log-likelihood with an error of
standard deviation sigma_t. sigma falls from sigma_start to sigma_end: natural first, then close. Priors without a
density, as the published one, have lambda = 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .config import SearchConfig
from .losses import LossInputs, parse_loss
from .variables import Variables
from .weights import PixelWeights

ANNEALED = 0.7  # the share of the steps in which sigma falls


class Value(NamedTuple):
    """[B] each. terms: of the loss, unweighted. data: the loss. penalty: of w and n. total: what is minimised."""

    terms: dict[str, Tensor]
    data: Tensor
    penalty: Tensor
    total: Tensor


class Objective:
    """Of a batch of searches.

    Args:
        target: y, [B, C, h, w]. noise_variance: [B], of the target's noise; sigma does not fall below it.
    """

    def __init__(
        self,
        config: SearchConfig,
        variables: Variables,
        target: Tensor,
        weights: PixelWeights,
        noise_variance: Tensor,
    ):
        self.loss = parse_loss(config.loss)
        self._eps, self._variables, self._target = config.eps, variables, target
        self._weights, self._noise_variance = weights, noise_variance
        self._scales = likelihood_scales(config, target, noise_variance, annealed=variables.prior.has_density)
        self._scale = self._scales[0].clone()  # of the current step, at a fixed address for captured evaluations

    def set_step(self, step: int) -> None:
        """Chooses lambda_t."""
        self._scale.copy_(self._scales[step])

    def __call__(self, measured: Tensor, ws: Tensor) -> Value:
        """At A(G(w, n)) [B, C, h, w] and ws [B, num_ws, w_dim], differentiable."""
        weights = self._weights
        inputs = LossInputs(
            measured, self._target, ws, self._eps, weights.loss, self._noise_variance, weights.cauchy_scale
        )
        terms = self.loss.terms(inputs)
        data, penalty = self.loss.total(terms), self._variables.penalty()
        return Value(terms, data, penalty, self._scale * data + penalty)

    def at_the_end(self, data: Tensor, penalty: Tensor) -> Tensor:
        """[B]: the objective with the last lambda, by which iterates of different steps compare."""
        return self._scales[-1] * data + penalty

    def tensors(self) -> list[Tensor]:
        """All tensors that belong to these searches."""
        return [self._scales]


def likelihood_scales(config: SearchConfig, target: Tensor, noise_variance: Tensor, *, annealed: bool) -> Tensor:
    """lambda_t, [steps + 1, B]; 1 where nothing is annealed."""
    if not annealed:
        return target.new_ones(config.steps + 1, len(target))
    fallen = (torch.arange(config.steps + 1, dtype=torch.float64) / (ANNEALED * max(config.steps, 1))).clamp(max=1)
    sigma = config.sigma_start * (config.sigma_reached / config.sigma_start) ** fallen
    variance = sigma.square().to(target.dtype).to(target.device)[:, None]
    return target[0].numel() / (2 * noise_variance.maximum(variance))

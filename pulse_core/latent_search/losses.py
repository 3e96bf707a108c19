"""The loss terms, each a number per image, and the strings that combine them ("100*L2+0.05*GEOCROSS").

To add a term: one function and one entry in TERMS.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import SettingError

CAUCHY_SCALE = 0.1  # colours in 0..1: skin that is drawn well stays below it, a flag behind the head does not


@dataclass(frozen=True)
class LossInputs:
    """What a term may look at.

    measured, target: [B, C, h, w] in 0..1, the degraded image and what it should be.
    ws: [B, num_ws, w_dim], the style vectors after the LeakyReLU, repeated where one serves all.
    eps: the L2 from which an image counts as found, mean squared error in (0..1)^2.
    trust: [B, 1, h, w] in 0..1, how much each pixel of the target counts; None is all fully.
    noise_variance: [B], of the target; None is none.
    tail: [1 or B, 1, h, w], the error from which a pixel pulls less, colours in 0..1; None is CAUCHY_SCALE everywhere.
    """

    measured: Tensor
    target: Tensor
    ws: Tensor
    eps: float
    trust: Tensor | None = None
    noise_variance: Tensor | None = None
    tail: Tensor | None = None


def mean_squared_error(measured: Tensor, target: Tensor, trust: Tensor | None = None) -> Tensor:
    """[B, C, h, w] -> [B], the mean over what is trusted."""
    return _mean((measured - target).square(), trust)


def _mean(errors: Tensor, trust: Tensor | None) -> Tensor:
    if trust is None:
        return errors.flatten(1).mean(1)
    weights = trust.expand_as(errors).flatten(1)
    return (errors.flatten(1) * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def mse(inputs: LossInputs) -> Tensor:
    """Mean squared error, to the end."""
    return mean_squared_error(inputs.measured, inputs.target, inputs.trust)


def l2(inputs: LossInputs) -> Tensor:
    """Mean squared error, clamped from below at eps: what is close enough pulls no further (PULSE, eq. 3)."""
    return mse(inputs).clamp(min=inputs.eps)


def l1(inputs: LossInputs) -> Tensor:
    """10 times the mean absolute error; the factor is the published code's."""
    return 10 * _mean((inputs.measured - inputs.target).abs(), inputs.trust)


def cauchy(inputs: LossInputs) -> Tensor:
    """c^2 log(1 + e^2 / c^2) of each pixel's mean squared error e^2, c^2 = tail^2 + the noise's variance.

    As the mean squared error where that is small; an object that the generator cannot draw pulls little (the Cauchy
    likelihood, a heavy-tailed prior on what is left).
    """
    tail = inputs.tail if inputs.tail is not None else inputs.target.new_full((1, 1, 1, 1), CAUCHY_SCALE)
    scale = tail.square()
    if inputs.noise_variance is not None:
        scale = scale + inputs.noise_variance[:, None, None, None]
    errors = (inputs.measured - inputs.target).square().mean(1, keepdim=True)
    return _mean(scale * torch.log1p(errors / scale), inputs.trust)


def geocross(inputs: LossInputs) -> Tensor:
    """The cross loss: how far apart the style vectors of one image point (PULSE, eq. 4, on the sphere).

    The mean over all pairs of (2 atan2(|a - b|, |a + b|))^2, times w_dim / 8 (64 for the published 512).
    Zero for a single style vector. The pairs of a vector with itself are part of the mean, as published.
    """
    a, b = inputs.ws[:, :, None, :], inputs.ws[:, None, :, :]
    # pairwise differences, not a Gram matrix: for equal vectors only this keeps the published 1e-9
    apart = ((a - b).square().sum(-1) + 1e-9).sqrt()
    along = ((a + b).square().sum(-1) + 1e-9).sqrt()
    angle = 2 * torch.atan2(apart, along)
    return angle.square().flatten(1).mean(1) * (inputs.ws.shape[-1] / 8)


@dataclass(frozen=True)
class Term:
    """A loss term by the name that loss strings use."""

    name: str
    compute: Callable[[LossInputs], Tensor]


TERMS = (Term("MSE", mse), Term("CAUCHY", cauchy), Term("L2", l2), Term("L1", l1), Term("GEOCROSS", geocross))

_PART = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\*([A-Za-z][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class Loss:
    """A weighted sum of terms."""

    parts: tuple[tuple[float, Term], ...]

    def terms(self, inputs: LossInputs) -> dict[str, Tensor]:
        """The unweighted terms by name, [B] each."""
        return {term.name: term.compute(inputs) for _, term in self.parts}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum, [B]."""
        return torch.stack([weight * terms[term.name] for weight, term in self.parts]).sum(0)


def parse_loss(text: str) -> Loss:
    """Reads "weight*NAME+weight*NAME...".

    Raises:
        SettingError: an unknown term, a term given twice, a missing or impossible weight.
    """
    known = {term.name: term for term in TERMS}
    accepted = f"terms like 100*L2+0.05*GEOCROSS, made of {', '.join(known)}, each once, with weights from 0 up."
    parts: list[tuple[float, Term]] = []
    for piece in re.split(r"(?<![eE])\+", re.sub(r"\s+", "", text)):
        match = _PART.fullmatch(piece)
        if match is None:
            raise SettingError(f"The loss {text!r} has the part {piece!r}.", accepted, "write weight*NAME.")
        weight, name = float(match[1]), match[2]
        if name not in known:
            raise SettingError(f"The loss {text!r} names the term {name!r}.", accepted, "check the spelling.")
        if any(term.name == name for _, term in parts) or not math.isfinite(weight):
            raise SettingError(f"The loss {text!r} cannot use the part {piece!r}.", accepted, "merge or correct it.")
        parts.append((weight, known[name]))
    return Loss(tuple(parts))

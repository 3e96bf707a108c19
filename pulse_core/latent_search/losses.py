"""Loss terms, one number per image each, and the strings that combine them ("100*L2+0.05*GEOCROSS").

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
from ..limits import check_length, shortened

CAUCHY_SCALE = 0.1  # colours in 0..1: skin that is drawn well has smaller errors, a flag behind the head larger ones


@dataclass(frozen=True)
class LossInputs:
    """What a term may use.

    measured: A(G(w, n)), [B, C, h, w]. target: y, the same shape, in 0..1.
    ws: [B, num_ws, w_dim], style vectors after the LeakyReLU, one vector repeated for a search in W.
    eps: mean squared error of colours in 0..1.
    weight: [1 or B, 1, h, w], of each pixel; None weighs all alike.
    noise_variance: [B], of the target; None is 0.
    cauchy_scale: [1 or B, 1, h, w], the c of `cauchy`; None is CAUCHY_SCALE everywhere.
    """

    measured: Tensor
    target: Tensor
    ws: Tensor
    eps: float
    weight: Tensor | None = None
    noise_variance: Tensor | None = None
    cauchy_scale: Tensor | None = None


def mean_squared_error(measured: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """[B, C, h, w] -> [B], a weighted mean."""
    return _mean((measured - target).square(), weight)


def _mean(errors: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return errors.flatten(1).mean(1)
    weights = weight.expand_as(errors).flatten(1)
    return (errors.flatten(1) * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def mse(inputs: LossInputs) -> Tensor:
    """Mean squared error."""
    return mean_squared_error(inputs.measured, inputs.target, inputs.weight)


def l2(inputs: LossInputs) -> Tensor:
    """Mean squared error, clamped from below at eps, where its gradient vanishes (PULSE, eq. 3)."""
    return mse(inputs).clamp(min=inputs.eps)


def l1(inputs: LossInputs) -> Tensor:
    """10 times the mean absolute error; the factor is the published code's."""
    return 10 * _mean((inputs.measured - inputs.target).abs(), inputs.weight)


def cauchy(inputs: LossInputs) -> Tensor:
    """c^2 log(1 + e^2 / c^2), e^2 a pixel's mean squared error, c^2 = cauchy_scale^2 + the noise variance.

    Equals the mean squared error where that is small. Objects that the generator cannot draw pull little: a Cauchy
    likelihood, which is a heavy-tailed prior on the residual.
    """
    given = inputs.cauchy_scale
    scale = (inputs.target.new_full((1, 1, 1, 1), CAUCHY_SCALE) if given is None else given).square()
    if inputs.noise_variance is not None:
        scale = scale + inputs.noise_variance[:, None, None, None]
    errors = (inputs.measured - inputs.target).square().mean(1, keepdim=True)
    return _mean(scale * torch.log1p(errors / scale), inputs.weight)


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

MAX_TEXT = 1000  # characters of a loss
_WEIGHT = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


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
    """Parses "weight*NAME+weight*NAME...".

    Raises:
        SettingError: an unknown term, a term given twice, a missing or impossible weight, or a text that is too long.
    """
    known = {term.name: term for term in TERMS}
    accepted = f"terms like 100*L2+0.05*GEOCROSS, made of {', '.join(known)}, each once, with weights from 0 up."
    check_length(text, MAX_TEXT, "The loss", "write weight*NAME+weight*NAME, each term once.")
    parts: list[tuple[float, Term]] = []
    for piece in _pieces("".join(text.split())):
        weight, star, name = piece.partition("*")
        loss = f"The loss {shortened(text)}"
        if not star or _WEIGHT.fullmatch(weight) is None:
            raise SettingError(f"{loss} has the part {shortened(piece)}.", accepted, "write weight*NAME.")
        if name not in known:
            raise SettingError(f"{loss} names the term {shortened(name)}.", accepted, "check the spelling.")
        if any(term.name == name for _, term in parts) or not math.isfinite(float(weight)):
            raise SettingError(f"{loss} cannot use the part {shortened(piece)}.", accepted, "merge or correct it.")
        parts.append((float(weight), known[name]))
    return Loss(tuple(parts))


def _pieces(text: str) -> list[str]:
    """The parts between the "+"; the "+" of an exponent, as in 1e+2*L2, comes before its part's "*"."""
    pieces = [""]
    for piece in text.split("+"):
        if pieces[-1][-1:] in ("e", "E") and "*" not in pieces[-1]:
            pieces[-1] += "+" + piece
        else:
            pieces.append(piece)
    return pieces[1:]

"""bench.glasses: how well a direction tells samples apart."""

from __future__ import annotations

import torch

from bench.glasses import GLASSES, SAMPLES, UNSURE, area
from pulse_core.latents.gaussian import LatentGaussian


def test_the_lists_name_samples_once():
    named = [*GLASSES, *UNSURE]
    assert len(set(named)) == len(named)
    assert set(named) <= set(range(SAMPLES))


def test_the_area_is_that_of_samples_that_were_not_fitted_to():
    gaussian = LatentGaussian(torch.zeros(64), torch.ones(64), torch.eye(64))
    white = torch.randn(400, 64, generator=torch.Generator().manual_seed(0))
    assert area(white, white[:, 0] > 0.8, gaussian) > 0.95
    nothing = torch.rand(400, generator=torch.Generator().manual_seed(1)) > 0.7
    assert 0.4 < area(white, nothing, gaussian) < 0.6  # a fit to all of them would have 0.8

"""Faces that lie partly outside of their photograph: what the alignment invented there counts for nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pulse_core.degradations import forward_operator, parse_degradation
from pulse_core.errors import SettingError
from pulse_core.faces.alignment import align
from pulse_core.faces.face import Face, Faces, Source
from pulse_core.faces.sizes import add_border_mask
from pulse_core.faces.warping import share_inside
from pulse_core.latent_search.config import RECOMMENDED
from pulse_core.latent_search.loop import search

# eyes, nose and mouth corners of an upright face whose square has its left third outside of the photograph
POINTS = torch.tensor([[10.0, 40.0], [40.0, 40.0], [25.0, 55.0], [12.0, 70.0], [38.0, 70.0]])


def at(x: float, y: float) -> Face:
    return Face(0, POINTS + torch.tensor([x, y]), 1.0)


def source(side: int = 200) -> Source:
    return Source.of(torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)))


def test_the_share_is_that_of_the_square():
    quad = torch.tensor([[-50.0, 0.0], [-50.0, 100.0], [50.0, 100.0], [50.0, 0.0]])
    inside = share_inside(quad, 100, 100, 10)
    assert torch.equal(inside[:, 5:], torch.ones(10, 5))
    assert not inside[:, :5].any()
    turned = torch.tensor([[0.0, -60.0], [-60.0, 0.0], [0.0, 60.0], [60.0, 0.0]])
    assert float(share_inside(turned, 500, 500, 64).mean()) == pytest.approx(0.25, abs=0.01)


def test_a_face_inside_keeps_its_degradation():
    noise = parse_degradation("noise(0.1)")
    assert add_border_mask(at(80, 60), source()) is None
    assert add_border_mask(at(80, 60), source(), noise) is noise


def test_beyond_the_border_nothing_is_trusted():
    face = at(0, 60)
    left = float(face.quad[:, 0].min())
    assert left < 0
    seen = forward_operator(add_border_mask(face, source(), parse_degradation("noise(0.1)")), (16, 16), (64, 64))
    trust = seen.weight_map(torch.zeros(1, 3, 16, 16))
    assert float(trust.mean()) == pytest.approx(1 + left / face.side, abs=0.02)
    assert float(seen.noise_variance(torch.zeros(1, 3, 16, 16))) == pytest.approx(0.01)


def test_the_invented_border_changes_no_result(tiny, tiny_fit):
    """Two photographs that differ only in what the alignment makes of their border."""
    picture = torch.rand(3, 200, 200, generator=torch.Generator().manual_seed(1))
    face = at(0, 60)
    (aligned,) = align([picture], Faces((face,), (source(),)), 32)
    target = torch.nn.functional.interpolate(aligned[None], (8, 8), mode="area")
    hidden = share_inside(face.quad, 200, 200, 8) == 0
    other = torch.where(hidden, 1 - target, target)
    assert bool(hidden.any())
    config = replace(RECOMMENDED, steps=6)
    ws = [
        search(tiny, each, tiny_fit, replace(config, init="random"), degradation=add_border_mask(face, source()))[0].ws
        for each in (target, other)
    ]
    torch.testing.assert_close(*ws, atol=1e-4, rtol=0)


def test_each_image_may_have_a_degradation_of_its_own(tiny, tiny_fit):
    targets = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    grey, config = parse_degradation("grey"), replace(RECOMMENDED, steps=4, batch_size=3)
    together = search(tiny, targets, tiny_fit, config, degradation=[None, grey, None])
    for row, seen in ((0, None), (1, grey)):
        (alone,) = search(tiny, targets[row], tiny_fit, replace(config, batch_size=1), degradation=seen)
        torch.testing.assert_close(together[row].ws, alone.ws, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            together[row].image, alone.image, atol=0.01, rtol=0
        )  # registration amplifies rounding
    with pytest.raises(SettingError, match="2 degradations were given for 3 images"):
        search(tiny, targets, tiny_fit, config, degradation=[None, grey])

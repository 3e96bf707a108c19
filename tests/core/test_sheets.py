"""Contact sheets, comparisons and heat maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulse_core.errors import SettingError
from pulse_core.pictures.images import from_pil
from pulse_core.pictures.sheets import comparison, contact_sheet
from pulse_core.pictures.spread import heat_map, spread


def pixels(sheet):
    return np.asarray(sheet, np.int16)


def test_a_contact_sheet_shows_each_image_at_its_place():
    colours = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)]
    images = [torch.tensor(colour, dtype=torch.float32)[:, None, None].expand(3, 64, 64) for colour in colours]
    sheet = pixels(contact_sheet(images, [str(n) for n in range(5)], columns=3, side=200))
    for number, colour in enumerate(colours):
        left = 16 + number % 3 * 216
        column = sheet[:, left + 100]
        assert (column == np.array(colour) * 255).all(1).any(), number
    assert sheet.shape[1] >= 3 * 216


def test_images_of_all_shapes_fit_and_long_captions_are_cut():
    images = [torch.zeros(3, 20, 80), torch.zeros(3, 80, 20), torch.zeros(3, 8, 8)]
    sheet = contact_sheet(images, ["short", "very long " * 30, "two\nlines"], side=100)
    assert sheet.width < 1000
    black = (pixels(sheet) == 0).all(2)
    assert black.sum() == pytest.approx(100 * 25 + 25 * 100 + 100 * 100, rel=0.2)


def test_a_contact_sheet_wants_a_caption_for_each():
    with pytest.raises(SettingError, match="1 captions were given for 2 images"):
        contact_sheet([torch.zeros(3, 8, 8)] * 2, ["one"])


def test_a_comparison_shows_what_is_left():
    given, found = torch.full((3, 8, 8), 0.5), torch.full((3, 8, 8), 0.52)
    sheet = from_pil(comparison(given, torch.full((3, 64, 64), 0.52), found, gain=10, side=400))
    last = sheet[:, 40 + 200, -16 - 200]
    torch.testing.assert_close(last, torch.full((3,), 0.7), atol=0.01, rtol=0)


def test_the_spread_is_the_standard_deviation():
    images = torch.rand(5, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    expected = images.var(0).mean(0).sqrt()
    torch.testing.assert_close(spread(list(images)), expected)
    assert float(spread([images[0]] * 3).max()) < 1e-6
    with pytest.raises(SettingError, match="There are 1 solutions to compare"):
        spread([images[0]])


def test_heat_maps_grow_lighter():
    colours = heat_map(torch.linspace(0, 1, 200)[None])
    lightness = (colours * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)[0]
    assert bool((lightness.diff() > 0).all())
    assert 0 <= float(colours.min()) <= float(colours.max()) <= 1
    torch.testing.assert_close(heat_map(torch.tensor([[-1.0, 2.0]])), heat_map(torch.tensor([[0.0, 1.0]])))

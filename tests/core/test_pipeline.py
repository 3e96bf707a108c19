"""The road of a picture: its target, the search, the solutions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from torch.nn import functional as F

from pulse_core.degradations import parse_degradation
from pulse_core.errors import ImageError
from pulse_core.faces.estimation import estimate_degradation
from pulse_core.faces.face import Face
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latent_search.loop import search
from pulse_core.pictures.images import read_image, save_image
from pulse_core.pipeline import Target, choose_targets, search_targets, upscale

BRIEF = SearchConfig(steps=2)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def enlarged():
    """A picture of 256x256 pixels with an effective size of about 24."""
    face = read_image(ROOT / "samples" / "eileen_collins.jpg")[None, :, 80:336, 128:384]
    small = F.interpolate(face, (24, 24), mode="bicubic", antialias=True)
    return F.interpolate(small, (256, 256), mode="bicubic")[0].clamp(0, 1)


def test_a_file_a_tensor_a_batch_and_a_target_take_the_same_road(tiny, tiny_fit, pictures, tmp_path):
    save_image(pictures[0], tmp_path / "face.png")
    (from_file,) = upscale(tmp_path / "face.png", tiny, tiny_fit, BRIEF, seed=3)
    eight_bits = read_image(tmp_path / "face.png")
    (from_tensor,) = upscale(eight_bits, tiny, tiny_fit, BRIEF, seed=3)
    (from_target,) = upscale(choose_targets([eight_bits], tiny)[0], tiny, tiny_fit, BRIEF, seed=3)
    batch = upscale(torch.stack([eight_bits, pictures[1]]), tiny, tiny_fit, BRIEF, seed=[3, 4])
    (searched,) = search(tiny, eight_bits, tiny_fit, BRIEF, seed=3)
    for other in (from_tensor, from_target, batch[0], searched):
        assert torch.equal(from_file.image, other.image)
    assert [(each.index, each.seed) for each in batch] == [(0, 3), (1, 4)]


def test_an_enlarged_picture_is_matched_at_its_effective_size_or_at_a_given_one(tiny, tiny_fit, enlarged):
    (solution,) = upscale(enlarged, tiny, tiny_fit, BRIEF)
    assert solution.downscaled.shape[-1] in (20, 24, 32)
    (target,) = choose_targets([enlarged], tiny, 12)
    assert (target.lr_size, target.input_size, target.summary) == (12, 256, "matched at 12 of 256 pixels")
    assert target.metadata["estimate"]["size"] in (20, 24, 32)


def test_grey_and_alpha_are_accepted_and_other_shapes_are_not(tiny, tiny_fit, pictures):
    grey, alpha = pictures[:, :1], torch.cat([pictures, torch.ones(2, 1, 8, 8)], 1)
    assert all(target.picture.shape == (3, 8, 8) for target in choose_targets([*grey, *alpha], tiny))
    assert upscale(grey[0], tiny, tiny_fit, BRIEF)[0].image.shape == (3, 32, 32)
    with pytest.raises(ImageError, match="a square"):
        choose_targets([torch.rand(3, 8, 9)], tiny)


def test_solutions_come_with_the_place_of_their_target(tiny, tiny_fit, pictures):
    degradation = parse_degradation("noise(0.05)")
    targets = [Target(pictures[0], 8), Target(pictures[1, :, :4, :4], 4), Target(pictures[1], 8, degradation)]
    config = replace(BRIEF, solutions=2, batch_size=2)
    found = list(search_targets(targets, tiny, tiny_fit, config, seed=[1, 5, 9]))
    assert [(each.index, each.seed) for each in found] == [(0, 1), (0, 2), (2, 9), (2, 10), (1, 5), (1, 6)]
    assert targets[2].metadata["degradation"] == "noise(0.05)"


def test_the_face_of_a_grey_photograph_stays_grey(tiny, tiny_fit, enlarged):
    grey = estimate_degradation(enlarged.mean(0, keepdim=True).expand(3, -1, -1))
    face = Face(0, torch.zeros(5, 2), 1.0, replace(grey, is_grey=True))
    target = Target(torch.rand(3, 8, 8), 80.0, None, face.estimate, face)
    (solution,) = search_targets([target], tiny, tiny_fit, BRIEF)
    assert torch.equal(solution.image[0], solution.image[1])

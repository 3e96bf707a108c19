"""The realism classifier: scores, separability, training, and shapes that it refuses."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT
from tiny import tiny_mobile_tensors

from bench.scorers import realism_training
from bench.scorers.corruptions import PIXEL_CORRUPTIONS, blurred_out, pictures_of_seed, rings, wavy
from bench.scorers.realism import FEATURES, PATCH, WEIGHTS, Classifier, auc, classifier, separability, shapes, tiles
from bench.scorers.realism_training import Patches, collect, cut, initial_weights, train, validation_auc
from pulse_core.errors import ImageError
from pulse_core.generators import build_generator
from pulse_core.latents.gaussian import fit_gaussian
from pulse_core.latents.sampling import sample
from pulse_core.pictures.images import read_image


def photograph(number):
    return read_image(ROOT / "bench" / "photographs" / f"p{number:02d}.jpg")


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_shipped_weights_have_the_expected_shapes():
    assert WEIGHTS.stat().st_size < 1_000_000
    assert {name: tuple(weight.shape) for name, weight in classifier().weights.items()} == shapes()
    assert sum(weight.numel() for weight in classifier().weights.values()) < 300_000


def test_the_classifier_is_deterministic():
    before, picture = torch.get_rng_state(), photograph(2)
    (first, features), (second, _) = classifier().evaluate(picture), Classifier.load().evaluate(picture)
    assert first == second
    assert 0 < first < 1
    assert features.shape == (FEATURES,)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("corrupt", [rings, blurred_out, wavy])
@pytest.mark.parametrize("number", [1, 8])
def test_corruptions_lower_the_score_of_a_photograph(corrupt, number):
    picture = photograph(number)
    assert classifier().score(picture) > classifier().score(corrupt(picture, random(number)))


@pytest.mark.weights
def test_corruptions_lower_the_score_of_a_sample(ffhq_mobile):
    draw, _ = next(sample(ffhq_mobile, [5]))
    score = classifier().score(draw)
    assert score > 0.5
    assert all(score > classifier().score(corrupt(draw, random(1))) for corrupt in PIXEL_CORRUPTIONS)


@pytest.mark.parametrize("shape", [(1, 512, 512), (3, 511, 512), (512, 512)])
def test_unsupported_shapes_are_refused(shape):
    with pytest.raises(ImageError, match="at least 512"):
        classifier().evaluate(torch.zeros(shape))


def test_tiles_cover_the_picture():
    image = torch.zeros(3, 200, 300)
    places = torch.arange(200 * 300).view(200, 300)
    found = tiles(places.float().expand_as(image))
    assert found.shape[1:] == (3, PATCH, PATCH)
    assert torch.equal(found[:, 0].unique().long(), places.flatten())


def test_auc_is_the_share_of_ordered_pairs():
    assert auc(torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0, 2.0])) == pytest.approx((3 + 1.5) / 6)


def test_separability_of_different_and_of_equal_groups():
    ones, others = (torch.randn(16, 8, generator=random(seed)) for seed in (0, 1))
    assert separability(ones, others + 3) == 1
    chances = [
        separability(*(torch.randn(12, 8, generator=random(2 * seed + side)) for side in (0, 1))) for seed in range(6)
    ]
    assert 0.35 < sum(chances) / len(chances) < 0.65  # the mean is near chance


def test_pictures_depend_only_on_the_seed(tiny, tiny_fit):
    generator = build_generator(tiny_mobile_tensors(), name="tiny")
    fit = fit_gaussian(generator, 2000)
    for seed in range(8):
        natural, corrupted = pictures_of_seed(tiny, tiny_fit, seed)
        again, _ = pictures_of_seed(generator, fit, seed)
        assert torch.equal(natural[0], again[0])
        assert len(corrupted) == 2
        assert all(float(image.min()) >= 0 and float(image.max()) <= 1 for image in (*natural, *corrupted))


def test_training_learns_to_detect_stripes(tmp_path, monkeypatch):
    """Pictures are made once, cached as patches, and learned from."""
    monkeypatch.setattr(realism_training, "CACHE", tmp_path)
    monkeypatch.setattr(realism_training, "NATURAL", 6)
    monkeypatch.setattr(realism_training, "CORRUPTED", 1)
    made = []

    def stripes(generator, fit, seed):
        made.append(seed)
        plain = torch.rand(3, 1, 1, generator=random(seed)).expand(3, 512, 512).contiguous()
        lines = (torch.arange(512) % 4 < 2).float() * 0.2
        return [plain * 0.8], [(plain * 0.8 + lines).clamp(0, 1)] * 2

    monkeypatch.setattr(realism_training, "pictures_of_seed", stripes)
    monkeypatch.setattr(realism_training, "load_with_fit", lambda name: (None, None))
    for _ in range(2):
        collect(4)
    assert len(made) == 4
    first = realism_training.FIRST_SEED
    weights = train(Patches([first, first + 1, first + 2]), 30)
    assert validation_auc(weights, Patches([first + 3]))["patches at 1/1"] == 1
    assert all(weight.dtype == torch.float16 for weight in weights.values())


def test_initial_weights_depend_only_on_the_seed():
    one, other = initial_weights(random(3)), initial_weights(random(3))
    assert all(torch.equal(one[name], other[name]) for name in shapes())
    assert cut(torch.rand(3, 512, 512, generator=random()), 2, random()).dtype == torch.uint8

"""The judge of realism: deterministic, right about constructed pictures, and clear about what it cannot judge."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT
from tiny import tiny_mobile_tensors

from bench.scorers import realism_training
from bench.scorers.realism import FEATURES, PATCH, WEIGHTS, Judge, auc, judge, shapes, tiles, told_apart
from bench.scorers.realism_training import Patches, beginning, collect, cut, reached, train
from bench.scorers.spoiling import OF_PICTURES, family, rings, softened, woven
from pulse_core.errors import ImageError
from pulse_core.generators import build_generator
from pulse_core.latents.gaussian import fit_gaussian
from pulse_core.latents.sampling import sample
from pulse_core.pictures.images import read_image


def photograph(number):
    return read_image(ROOT / "bench" / "photographs" / f"p{number:02d}.jpg")


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_shipped_weights_are_small_and_whole():
    assert WEIGHTS.stat().st_size < 1_000_000
    assert {name: tuple(weight.shape) for name, weight in judge().weights.items()} == shapes()
    assert sum(weight.numel() for weight in judge().weights.values()) < 300_000


def test_the_judge_is_deterministic_and_leaves_the_random_state_alone():
    before, picture = torch.get_rng_state(), photograph(2)
    (first, features), (second, _) = judge().look(picture), Judge.load().look(picture)
    assert first == second
    assert 0 < first < 1
    assert features.shape == (FEATURES,)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("spoiler", [rings, softened, woven])
@pytest.mark.parametrize("number", [1, 8])
def test_a_photograph_scores_above_itself_spoiled(spoiler, number):
    picture = photograph(number)
    assert judge().score(picture) > judge().score(spoiler(picture, random(number)))


@pytest.mark.weights
def test_a_natural_draw_scores_above_a_spoiled_one(ffhq_mobile):
    draw, _ = next(sample(ffhq_mobile, [5]))
    score = judge().score(draw)
    assert score > 0.5
    assert all(score > judge().score(spoiler(draw, random(1))) for spoiler in OF_PICTURES)


@pytest.mark.parametrize("shape", [(1, 512, 512), (3, 511, 512), (512, 512)])
def test_what_it_cannot_judge_is_told(shape):
    with pytest.raises(ImageError, match="at least 512"):
        judge().look(torch.zeros(shape))


def test_tiles_cover_the_picture():
    image = torch.zeros(3, 200, 300)
    places = torch.arange(200 * 300).view(200, 300)
    found = tiles(places.float().expand_as(image))
    assert found.shape[1:] == (3, PATCH, PATCH)
    assert torch.equal(found[:, 0].unique().long(), places.flatten())


def test_auc_counts_pairs():
    assert auc(torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0, 2.0])) == pytest.approx((3 + 1.5) / 6)


def test_groups_that_differ_are_told_apart_and_equal_ones_are_not():
    ones, others = (torch.randn(16, 8, generator=random(seed)) for seed in (0, 1))
    assert told_apart(ones, others + 3) == 1
    chances = [
        told_apart(*(torch.randn(12, 8, generator=random(2 * seed + side)) for side in (0, 1))) for seed in range(6)
    ]
    assert 0.35 < sum(chances) / len(chances) < 0.65  # in the mean: no class is learned from who is in it


def test_the_same_seed_spoils_in_the_same_way(tiny, tiny_fit):
    generator = build_generator(tiny_mobile_tensors(), name="tiny")
    fit = fit_gaussian(generator, 2000)
    for seed in range(8):
        natural, spoiled = family(tiny, tiny_fit, seed)
        again, _ = family(generator, fit, seed)
        assert torch.equal(natural[0], again[0])
        assert len(spoiled) == 2
        assert all(float(image.min()) >= 0 and float(image.max()) <= 1 for image in (*natural, *spoiled))


def test_training_tells_stripes_from_none(tmp_path, monkeypatch):
    """The whole way: pictures are made once, cut up and learned from."""
    monkeypatch.setattr(realism_training, "CACHE", tmp_path)
    monkeypatch.setattr(realism_training, "NATURAL", 6)
    monkeypatch.setattr(realism_training, "PAINTED", 1)
    made = []

    def stripes(generator, fit, seed):
        made.append(seed)
        plain = torch.rand(3, 1, 1, generator=random(seed)).expand(3, 512, 512).contiguous()
        lines = (torch.arange(512) % 4 < 2).float() * 0.2
        return [plain * 0.8], [(plain * 0.8 + lines).clamp(0, 1)] * 2

    monkeypatch.setattr(realism_training, "family", stripes)
    monkeypatch.setattr(realism_training, "load_with_fit", lambda name: (None, None))
    for _ in range(2):
        collect(4)
    assert len(made) == 4
    first = realism_training.FIRST_SEED
    weights = train(Patches([first, first + 1, first + 2]), 30)
    assert reached(weights, Patches([first + 3]))["patches at 1/1"] == 1
    assert all(weight.dtype == torch.float16 for weight in weights.values())


def test_training_begins_the_same_way():
    one, other = beginning(random(3)), beginning(random(3))
    assert all(torch.equal(one[name], other[name]) for name in shapes())
    assert cut(torch.rand(3, 512, 512, generator=random()), 2, random()).dtype == torch.uint8

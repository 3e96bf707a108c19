"""The guess of a latent from a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import CheckpointError, SettingError
from pulse_core.gaussian import LatentGaussian, gaussian_for
from pulse_core.latent_search.config import RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.loading import load_generator
from pulse_core.sampling import sample
from pulse_core.starts import StartRegression, _ridge, fit_starts


@pytest.fixture(scope="module")
def start(tiny, tiny_fit):
    return fit_starts(tiny, tiny_fit, 400)


def test_a_guess_is_closer_than_the_mean(tiny, tiny_fit, start):
    images, ws = zip(*sample(tiny, range(50)), strict=True)
    guess = start.guess(downsample(torch.stack(images), size=(8, 8)))
    truth = tiny_fit.whiten(torch.stack(ws)[:, 0])
    assert float((guess - truth).square().mean()) < 0.9 * float(truth.square().mean())


def test_a_search_begins_with_the_guess(
    tiny,
    tiny_fit,
    start,
):
    image, _ = next(sample(tiny, [7]))
    target = downsample(image[None], size=(8, 8))
    first = {}
    for name, fit in (("guess", replace(tiny_fit, start=start)), ("prior", tiny_fit)):
        search(
            tiny,
            target,
            fit,
            replace(RECOMMENDED, steps=1),
            on_step=lambda s, n=name: first.setdefault(n, s.l2.clone()) is None,
        )
    assert float(first["guess"]) < float(first["prior"])


def test_ridge_shrinks_what_cannot_be_known():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(600, 5, generator=random, dtype=torch.float64) + 3
    y = torch.stack([x[:, 0] - 3, torch.randn(600, generator=random, dtype=torch.float64)], 1)
    mean, weight = _ridge(x, y)
    torch.testing.assert_close(mean, torch.full((5,), 3.0, dtype=torch.float64), atol=0.15, rtol=0)
    assert float(weight[0, 0]) == pytest.approx(1, abs=0.05)
    assert weight[:, 1].abs().max() < 0.1


@pytest.mark.parametrize("size", [(5, 5), (16, 16), (33, 40)])
def test_pictures_of_any_size_are_guessed(start, size):
    guess = start.guess(torch.rand(2, 3, *size))
    assert guess.shape == (2, 16)
    assert guess.isfinite().all()


def test_too_few_pairs_are_told(tiny, tiny_fit):
    with pytest.raises(SettingError, match="10 pairs were asked for"):
        fit_starts(tiny, tiny_fit, 10)


def test_a_file_keeps_all_of_a_fit(tmp_path, tiny_fit, start):
    fit = replace(tiny_fit, start=start)
    fit.save(tmp_path / "a.safetensors")
    again = LatentGaussian.load(tmp_path / "a.safetensors")
    for name, tensor in fit.tensors().items():
        assert torch.equal(again.tensors()[name], tensor), name
    assert again.start.size == start.size
    plain = LatentGaussian(tiny_fit.mean, tiny_fit.std)
    plain.save(tmp_path / "b.safetensors")
    assert set(LatentGaussian.load(tmp_path / "b.safetensors").tensors()) == {"mean", "std"}


def test_a_broken_regression_is_told(tmp_path, tiny_fit):
    broken = replace(tiny_fit, start=StartRegression(torch.zeros(12), torch.zeros(11, 16), (2, 2)))
    broken.save(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"The start regression in .* is not whole"):
        LatentGaussian.load(tmp_path / "a.safetensors")


def test_the_cache_is_completed_not_repeated(tiny_file):
    generator = load_generator(tiny_file)
    first = gaussian_for(generator, samples=500)
    LatentGaussian(first.mean, first.std).save(next(tiny_file.parent.glob("*.gaussian.safetensors")))  # an old one
    seen = []
    again = gaussian_for(generator, samples=500, start_pairs=100, on_progress=lambda done, total: seen.append(total))
    assert again.covariance is not None
    assert again.start is not None
    assert {500, 100} == set(seen)
    seen.clear()
    assert (
        gaussian_for(generator, samples=500, start_pairs=100, on_progress=lambda *_: seen.append(1)).start is not None
    )
    assert not seen

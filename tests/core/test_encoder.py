"""The encoder: a Gaussian over latents from a small picture."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import CheckpointError, SettingError
from pulse_core.latent_search.config import RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.latents.encoder import training
from pulse_core.latents.encoder.augmentation import augment, replace_backgrounds
from pulse_core.latents.encoder.network import Encoder, canonical_size, encoder_path
from pulse_core.latents.encoder.pairs import SHARD, draw_pairs
from pulse_core.latents.encoder.training import fit_encoder
from pulse_core.latents.fits import cache_folder, gaussian_for, training_path
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.latents.sampling import sample
from pulse_core.loading.load import load_generator


@pytest.fixture(scope="module")
def start(tiny, tiny_fit):
    return fit_encoder(tiny, tiny_fit, 400)


@pytest.fixture(scope="module")
def unlearned():
    """An untrained encoder for the tiny generator, with random weights."""
    encoder = Encoder(16, (32, 32)).initialise(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(encoder.head.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    return encoder.map_tensors(lambda tensor: tensor)


def faces(tiny, tiny_fit, side):
    images, ws = zip(*sample(tiny, range(50)), strict=True)
    return downsample(torch.stack(images), size=(side, side)), tiny_fit.whiten(torch.stack(ws)[:, 0])


@pytest.mark.parametrize("side", [8, 16, 32])
def test_the_posterior_is_closer_than_the_prior_and_calibrated(tiny, tiny_fit, start, side):
    pictures, truth = faces(tiny, tiny_fit, side)
    mean, std = start.posterior(pictures)
    assert torch.equal(mean, start.posterior_mean(pictures))
    error = (mean - truth).square()
    assert float(error.mean()) < 0.9 * float(truth.square().mean())
    assert 0.7 < float((error / std.square()).mean()) < 1.4


def test_a_search_starts_from_the_posterior_mean(tiny, tiny_fit, start):
    image, _ = next(sample(tiny, [7]))
    target = downsample(image[None], size=(8, 8))
    first = {}
    for name, fit in (("guess", replace(tiny_fit, encoder=start)), ("random", tiny_fit)):
        search(
            tiny,
            target,
            fit,
            replace(RECOMMENDED, steps=1),
            on_step=lambda s, n=name: first.setdefault(n, s.l2.clone()) is None,
        )
    assert float(first["guess"]) < float(first["random"])


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (16, 16), (33, 40), (20, 64), (128, 128)])
def test_pictures_of_any_size_are_encoded(unlearned, size):
    mean, std = unlearned.posterior(torch.rand(2, 3, *size))
    assert mean.shape == std.shape == (2, 16)
    assert mean.isfinite().all()
    assert (std > 0).all()


@pytest.mark.parametrize("size", [(1024, 1024), (512, 256), (384, 512), (32, 32), (16, 1024)])
def test_its_input_has_the_generators_aspect_ratio(size):
    height, width = canonical_size(size)
    assert max(height, width) == min(64, max(size))
    assert height % 16 == width % 16 == 0
    assert abs(height / max(height, width) - size[0] / max(size)) <= 16 / max(height, width)
    encoder = Encoder(8, (height, width)).initialise(torch.Generator().manual_seed(0))
    assert encoder.posterior_mean(torch.rand(1, 3, height // 2, width // 2)).shape == (1, 8)


def test_pictures_of_a_batch_are_independent(unlearned):
    pictures = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    together = unlearned.posterior(pictures)
    for row, picture in enumerate(pictures.split(1)):
        for alone, all_of_them in zip(unlearned.posterior(picture), together, strict=True):
            torch.testing.assert_close(alone[0], all_of_them[row], rtol=1e-5, atol=1e-5)


def test_an_untrained_encoder_predicts_the_prior():
    encoder = Encoder(16, (32, 32)).initialise(torch.Generator().manual_seed(0))
    mean, std = encoder.posterior(torch.rand(3, 3, 16, 16))
    assert torch.equal(mean, torch.zeros(3, 16))
    assert torch.equal(std, torch.ones(3, 16))


def test_the_wide_encoder_has_few_parameters():
    encoder = Encoder(512, canonical_size((1024, 1024)))
    assert sum(weight.numel() for weight in encoder.parameters()) < 4_000_000


def test_other_types_and_devices_are_supported(tiny_fit, unlearned):
    pictures = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    fit = replace(tiny_fit, encoder=unlearned).map_tensors(lambda tensor: tensor.double())
    assert fit.encoder.head.weight.dtype == torch.float64
    assert fit.encoder.posterior_mean(pictures).dtype == unlearned.posterior_mean(pictures).dtype == torch.float64
    torch.testing.assert_close(
        fit.encoder.posterior_mean(pictures), unlearned.posterior_mean(pictures), rtol=0, atol=1e-4
    )
    assert (
        replace(tiny_fit, encoder=unlearned).map_tensors(lambda tensor: tensor.to("meta")).encoder.head.weight.is_meta
    )


def test_flipped_axes_flip_the_posterior_mean(unlearned):
    signs = torch.ones(16, dtype=torch.int8)
    signs[::2] = -1
    pictures = torch.rand(2, 3, 16, 16)
    mean, std = unlearned.posterior(pictures)
    turned_mean, turned_std = unlearned.with_signs(signs).posterior(pictures)
    torch.testing.assert_close(turned_mean, mean * signs)
    torch.testing.assert_close(turned_std, std)
    torch.testing.assert_close(unlearned.with_signs(signs).with_signs(unlearned.signs).posterior_mean(pictures), mean)


def test_axes_of_another_machine_are_aligned(tmp_path, tiny_fit, unlearned):
    own = unlearned.with_signs(tiny_fit.signs)
    replace(tiny_fit, encoder=own).save(tmp_path / "a.safetensors")
    own.with_signs(-tiny_fit.signs).save(encoder_path(tmp_path / "a.safetensors"))
    pictures = torch.rand(2, 3, 16, 16)
    loaded = LatentGaussian.load(tmp_path / "a.safetensors").encoder
    torch.testing.assert_close(loaded.posterior_mean(pictures), own.posterior_mean(pictures), rtol=1e-2, atol=1e-2)


def test_a_fit_saves_its_encoder_in_a_separate_file(tmp_path, tiny_fit, start):
    path = tmp_path / "a.gaussian.safetensors"
    fit = replace(tiny_fit, encoder=start)
    fit.save(path, {"content_hash": "1234"})
    assert encoder_path(path) == tmp_path / "a.encoder.safetensors"
    assert load_file(encoder_path(path))["stem.weight"].dtype == torch.float16
    again = LatentGaussian.load(path)
    for name, tensor in start.tensors().items():
        assert torch.equal(again.encoder.tensors()[name], tensor), name
    assert again.digest == fit.digest != tiny_fit.digest
    encoder_path(path).unlink()
    assert LatentGaussian.load(path).encoder is None


def test_a_regression_of_earlier_files_is_ignored(tmp_path, tiny_fit):
    past = {"start.mean": torch.zeros(3, 2, 2), "start.weight": torch.zeros(12, 16)}
    save_file(tiny_fit.tensors() | past, tmp_path / "a.safetensors")
    fit = LatentGaussian.load(tmp_path / "a.safetensors")
    assert fit.encoder is None
    assert torch.equal(fit.covariance, tiny_fit.covariance)


def broken(tensors):
    yield {name: tensor for name, tensor in tensors.items() if name != "size"}
    yield {name: tensor for name, tensor in tensors.items() if name != "body.1.norm.weight"}
    yield tensors | {"more": torch.zeros(1)}
    yield tensors | {"size": torch.tensor([32, 30])}
    yield tensors | {"size": torch.tensor([2**40, 2**40])}
    yield tensors | {"size": torch.zeros(2, 2, dtype=torch.int64)}
    yield tensors | {"size": torch.full((2,), float("nan"))}
    yield tensors | {"signs": torch.ones((), dtype=torch.int8)}
    yield tensors | {"signs": torch.ones(17, dtype=torch.int8)}
    yield tensors | {"signs": torch.ones(0, dtype=torch.int8)}
    yield tensors | {"signs": torch.ones(10_000_000, dtype=torch.int8)}
    yield tensors | {"signs": torch.zeros(16, dtype=torch.int8)}
    yield tensors | {"stem.weight": torch.zeros(8, 12, 1, 1)}
    yield tensors | {"head.bias": torch.full((32,), float("nan"))}


@pytest.mark.parametrize("case", range(14))
def test_a_damaged_file_is_refused(tmp_path, unlearned, case):
    path = tmp_path / "a.encoder.safetensors"
    unlearned.save(path)
    save_file(list(broken(load_file(path)))[case], path)
    with pytest.raises(CheckpointError) as told:
        Encoder.load(path)
    assert str(path) in told.value.found
    assert told.value.accepted.startswith("an encoder written by this pack")
    assert "--encoder" in told.value.remedy


def test_the_encoder_of_another_generator_is_refused(tmp_path, tiny_fit, start):
    path = tmp_path / "a.gaussian.safetensors"
    replace(tiny_fit, encoder=start).save(path, {"content_hash": "1234", "class": "all"})
    tiny_fit.save(path, {"content_hash": "5678", "class": "all"})
    with pytest.raises(CheckpointError, match=r"The encoder in .* is for another generator or class"):
        LatentGaussian.load(path)
    Encoder(8, (32, 32)).initialise(torch.Generator().manual_seed(0)).save(encoder_path(path))
    with pytest.raises(CheckpointError, match="w_dim 8"):
        LatentGaussian.load(path)


def test_pairs_are_the_same_with_and_without_a_folder_and_after_a_stop(tiny, tiny_fit, tmp_path, monkeypatch):
    monkeypatch.setattr("pulse_core.latents.encoder.pairs.SHARD", 32)
    pictures, white = draw_pairs(tiny, tiny_fit, 70)
    assert pictures.shape == (70, 3, 32, 32)
    assert pictures.dtype == torch.uint8
    assert white.shape == (70, 16)
    assert white.dtype == torch.float16
    seen = []

    def stop(done, total):
        seen.append(done)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_pairs(tiny, tiny_fit, 70, folder=tmp_path, on_progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs-0000-32.safetensors"]
    seen.clear()
    again = draw_pairs(tiny, tiny_fit, 70, folder=tmp_path, on_progress=lambda done, _: seen.append(done))
    assert seen == [32, 48, 64, 70]
    assert torch.equal(again[0], pictures)
    assert torch.equal(again[1], white)
    assert SHARD % 16 == 0


def test_a_damaged_shard_is_rendered_again(tiny, tiny_fit, tmp_path):
    pictures, _ = draw_pairs(tiny, tiny_fit, 20, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert torch.equal(draw_pairs(tiny, tiny_fit, 20, folder=tmp_path)[0], pictures)
    save_file({"pictures": torch.zeros(20, 3, 8, 8), "white": torch.zeros(20, 16)}, file)
    assert torch.equal(draw_pairs(tiny, tiny_fit, 20, folder=tmp_path)[0], pictures)


def test_a_resumed_training_gives_the_same_result(tiny, tiny_fit, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_MIN_STEPS", 12)
    monkeypatch.setattr(training, "_EPOCHS", 1)
    monkeypatch.setattr(training, "_SAVE_EVERY", 5)
    before = torch.get_rng_state()
    whole = fit_encoder(tiny, tiny_fit, 100)
    assert torch.equal(torch.get_rng_state(), before)

    def stop(done, total):
        if (done, total) == (8, 12):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_encoder(tiny, tiny_fit, 100, cache=tmp_path, on_progress=stop)
    seen = []
    resumed = fit_encoder(tiny, tiny_fit, 100, cache=tmp_path, on_progress=lambda *at: seen.append(at))
    assert seen == [(100, 100), *((step, 12) for step in range(6, 13))]
    for name, tensor in whole.tensors().items():
        assert torch.equal(resumed.tensors()[name], tensor), name
    (tmp_path / "training.safetensors").write_bytes(b"nothing")
    seen.clear()
    fit_encoder(tiny, tiny_fit, 100, cache=tmp_path, on_progress=lambda *at: seen.append(at))
    assert seen[1] == (1, 12)


def test_variances_are_calibrated_on_held_out_pairs():
    random = torch.Generator().manual_seed(0)
    log_std = 0.5 * torch.randn(20_000, 3, generator=random) - 1
    truth = torch.tensor([1.0, 0.6, 0.8]) * log_std + torch.tensor([0.0, 0.1, -0.4])
    error = (truth.exp() * torch.randn(log_std.shape, generator=random)).square()
    a, b = training._fit_log_std(error, log_std, 20_000)
    torch.testing.assert_close(a, torch.tensor([1.0, 0.6, 0.8]), rtol=0, atol=0.05)
    torch.testing.assert_close(b, torch.tensor([0.0, 0.1, -0.4]), rtol=0, atol=0.05)


def test_augmentation_is_seeded_and_stays_in_range():
    pictures = torch.rand(16, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    for seed in range(20):
        first, again = (augment(pictures, torch.Generator().manual_seed(seed)) for _ in range(2))
        assert torch.equal(first, again)
        assert first.shape == pictures.shape
        assert first.min() >= 0
        assert first.max() <= 1
        assert not torch.equal(first, augment(pictures, torch.Generator().manual_seed(seed + 100)))
    assert torch.equal(torch.get_rng_state(), before)


def test_replaced_backgrounds_leave_the_face():
    pictures = torch.rand(40, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    changed = (replace_backgrounds(pictures, torch.Generator().manual_seed(1)) - pictures).abs()
    assert changed[..., 26:42, 26:38].max() < 0.02
    has_another = changed[..., :3, :3].flatten(1).amax(1) > 0.1
    assert 8 < int(has_another.sum()) < 32
    assert changed[~has_another].max() < 1e-6


def test_too_few_pairs_are_refused(tiny, tiny_fit):
    with pytest.raises(SettingError, match="10 pairs were asked for"):
        fit_encoder(tiny, tiny_fit, 10)


def test_an_incomplete_cache_is_completed(tiny_file):
    generator = load_generator(tiny_file)
    first = gaussian_for(generator, samples=500)
    cache = next(cache_folder().glob("*.gaussian.safetensors"))
    LatentGaussian(first.mean, first.std).save(cache)  # an old one
    seen = []
    again = gaussian_for(generator, samples=500, encoder_pairs=100, on_progress=lambda done, total: seen.append(total))
    assert again.covariance is not None
    assert again.encoder is not None
    assert set(seen) == {500, 100}
    assert encoder_path(cache).is_file()
    assert not training_path(cache).exists()
    kept = hashlib.sha256(encoder_path(cache).read_bytes()).hexdigest()
    seen.clear()
    last = gaussian_for(generator, samples=500, encoder_pairs=100, on_progress=lambda *_: seen.append(1))
    assert last.digest == again.digest
    assert not seen
    assert hashlib.sha256(encoder_path(cache).read_bytes()).hexdigest() == kept

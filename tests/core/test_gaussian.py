"""The Gaussian fit: moments, batches, seeds, cache, shipped files."""

from __future__ import annotations

import math
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import save_tiny

from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import CheckpointError, SettingError
from pulse_core.generators import build_generator
from pulse_core.latents import fits
from pulse_core.latents.encoder.network import Encoder, encoder_path
from pulse_core.latents.fits import gaussian_for
from pulse_core.latents.gaussian import LatentGaussian, fit_gaussian, moments
from pulse_core.latents.sampling import sample
from pulse_core.loading import catalogue
from pulse_core.loading.load import load_generator


def test_moments_do_not_depend_on_the_batches():
    w = torch.randn(1000, 7, generator=torch.Generator().manual_seed(0)) * 3 + 100
    v = torch.where(w < 0, 5 * w, w).double()
    for cut in ([1000], [1, 999], [300, 300, 400]):
        fit = moments(w.split(cut))
        torch.testing.assert_close(fit.mean, v.mean(0), rtol=1e-12, atol=0)
        torch.testing.assert_close(fit.std, v.std(0), rtol=1e-10, atol=0)


def test_fit_matches_the_published_numbers(golden):
    tensors = golden("stylegan1")
    if "io.z_big_q" not in tensors:
        pytest.skip("the mapping network's 8 MB are not in the repository: set PULSE_GOLDEN to the complete files")
    state = {k: v for k, v in tensors.items() if not k.startswith("io.")}
    z = tensors["io.z_big_q"] / 32
    for dtype, suffix, atol in ((torch.float32, "_f64acc", 1e-6), (torch.float64, "_f64", 1e-10)):
        generator = build_generator(state, name="sg1", dtype=dtype)
        fit = moments(generator.mapping.map_to_w(part.to(dtype), None) for part in z.split(1000))
        torch.testing.assert_close(fit.mean, tensors[f"io.gaussian_mean{suffix}"], rtol=0, atol=atol)
        torch.testing.assert_close(fit.std, tensors[f"io.gaussian_std{suffix}"], rtol=0, atol=atol)


def test_fit_depends_only_on_its_seed(tiny):
    before = torch.get_rng_state()
    first, again, other = fit_gaussian(tiny, 500), fit_gaussian(tiny, 500), fit_gaussian(tiny, 500, seed=1)
    assert torch.equal(first.mean, again.mean)
    assert not torch.equal(first.mean, other.mean)
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_are_mapped_in_batches_of_bounded_size(tiny, monkeypatch):
    sizes = []
    original = tiny.mapping.map_to_w
    monkeypatch.setattr(tiny.mapping, "map_to_w", lambda z, c: sizes.append(len(z)) or original(z, c))
    seen = []
    fit_gaussian(tiny, 10_000, on_progress=lambda done, total: seen.append((done, total)))
    assert sum(sizes) == 10_000
    assert max(sizes) <= 4096
    assert seen[-1] == (10_000, 10_000)


def test_from_ws_inverts_to_ws(tiny_fit):
    v = torch.randn(2, 6, 16)
    ws = tiny_fit.to_ws(v)
    torch.testing.assert_close(tiny_fit.from_ws(ws), v, atol=1e-5, rtol=1e-5)


def test_one_sample_is_refused(tiny):
    with pytest.raises(SettingError, match=r"samples is 1\..*2 or more"):
        fit_gaussian(tiny, 1)


def cached_fits() -> list[Path]:
    return sorted(fits.cache_folder().glob("*" + fits.FIT_SUFFIX))


def test_fits_are_cached_by_content_outside_the_models_folder(tmp_path, monkeypatch):
    generator = load_generator(save_tiny(tmp_path / "tiny.safetensors"))
    fit = gaussian_for(generator, samples=300)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]
    (cache,) = cached_fits()
    assert generator.content_hash[:16] in cache.name
    monkeypatch.setattr(fits, "fit_gaussian", lambda *_, **__: pytest.fail("fitted again"))
    assert torch.equal(gaussian_for(generator, samples=300).mean, fit.mean)
    monkeypatch.undo()
    other = load_generator(save_tiny(tmp_path / "tiny.safetensors", seed=1))
    assert not torch.equal(gaussian_for(other, samples=300).mean, fit.mean)


def test_a_fit_that_was_saved_beside_the_checkpoint_is_used(tmp_path):
    generator = load_generator(save_tiny(tmp_path / "tiny.safetensors"))
    mine = fit_gaussian(generator, 400)
    mine.save(fits.cache_path(generator, 300, 0))
    assert torch.equal(gaussian_for(generator, samples=300).mean, mine.mean)
    assert not cached_fits()


def test_the_cache_keeps_the_last_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "KEPT", 3)
    generator = load_generator(save_tiny(tmp_path / "tiny.safetensors"))
    for seed in range(5):
        gaussian_for(generator, samples=300, seed=seed)
        for path in cached_fits():  # the clock of the file system may have a resolution of seconds
            number = int(path.name.split("-")[2].split(".")[0])
            os.utime(path, (1e9 + number, 1e9 + number))
    assert {path.name.split("-")[2].split(".")[0] for path in cached_fits()} == {"2", "3", "4"}
    size = cached_fits()[0].stat().st_size
    monkeypatch.setattr(fits, "KEPT_BYTES", 2 * size + size // 2)
    gaussian_for(generator, samples=300, seed=9)
    assert len(cached_fits()) == 2
    assert any("-9." in path.name for path in cached_fits())


def test_fits_with_an_encoder_stay_in_the_cache_longer(tmp_path, monkeypatch, tiny_fit):
    monkeypatch.setattr(fits, "KEPT", 2)
    generator = load_generator(save_tiny(tmp_path / "tiny.safetensors"))
    gaussian_for(generator, samples=300, seed=0)
    (first,) = cached_fits()
    encoder = Encoder(16, (32, 32)).initialise(torch.Generator().manual_seed(0))
    encoder.save(encoder_path(first))
    os.utime(first, (1, 1))
    for seed in (1, 2, 3):
        gaussian_for(generator, samples=300, seed=seed)
    assert [path.name.split("-")[2][0] for path in cached_fits()] == ["0", "3"]


@pytest.mark.parametrize("damage", ["empty", "cut", "nan", "other"])
@pytest.mark.parametrize("where", ["cache", "beside"])
def test_damaged_fits_are_computed_again(tmp_path, caplog, damage, where):
    generator = load_generator(save_tiny(tmp_path / "tiny.safetensors"))
    original = gaussian_for(generator, samples=300)
    (path,) = cached_fits()
    if where == "beside":
        path = shutil.move(path, fits.cache_path(generator, 300, 0))
    if damage in ("nan", "other"):
        std = original.std if damage == "nan" else original.std[:3]
        save_file({"mean": original.mean * math.nan, "std": std}, path)
    else:
        Path(path).write_bytes(Path(path).read_bytes()[: 0 if damage == "empty" else -20])
    again = gaussian_for(generator, samples=300)
    assert torch.equal(again.mean, original.mean)
    assert "is not used, and made again" in caplog.text
    assert LatentGaussian.load(cached_fits()[0]).covariance is not None


def test_the_cache_folder_follows_the_platform(tmp_path, monkeypatch):
    monkeypatch.delenv("PULSE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fits.cache_folder() == tmp_path / "pulse" / "fits"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fits.cache_folder() == tmp_path / ".cache" / "pulse" / "fits"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert fits.cache_folder() == tmp_path / "local" / "pulse" / "fits"


def test_a_read_only_folder_only_disables_the_cache(tmp_path, monkeypatch, caplog):
    generator = load_generator(save_tiny(tmp_path / "tiny.safetensors"))

    def refuse(*_args, **_kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(LatentGaussian, "save", refuse)
    assert len(gaussian_for(generator, samples=300).mean) == 16
    assert "could not be cached" in caplog.text


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_save_and_load(tmp_path, tiny_fit, suffix):
    path = tmp_path / f"fit{suffix}"
    if suffix == ".pt":  # PULSE's gaussian_fit.pt
        torch.save({"mean": tiny_fit.mean.float(), "std": tiny_fit.std.float()}, path)
    else:
        tiny_fit.save(path)
    loaded = LatentGaussian.load(path)
    assert torch.equal(loaded.mean, tiny_fit.mean)
    assert torch.equal(loaded.std, tiny_fit.std)


def test_files_that_are_no_fit_are_refused(tmp_path):
    save_file({"mean": torch.zeros(3), "spread": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"holds mean \[3\], spread \[3\].*a latent Gaussian fit"):
        LatentGaussian.load(tmp_path / "x.safetensors")


def test_fits_and_encoders_of_known_generators_are_shipped():
    for row in catalogue.fetchable():
        path = catalogue.shipped_fit(row.content_hash)
        assert path is not None, f"no fit ships for {row.name}"
        assert path.stat().st_size < 3_000_000
        fit = LatentGaussian.load(path)
        assert fit.std.min() > 0
        assert fit.covariance is not None
        assert encoder_path(path).stat().st_size < 8_000_000
        assert fit.encoder is not None


@pytest.mark.weights
def test_the_shipped_fit_matches_a_fresh_one(ffhq_mobile):
    shipped, fresh = gaussian_for(ffhq_mobile), fit_gaussian(ffhq_mobile, 20_000)
    assert (shipped.mean - fresh.mean).abs().div(shipped.std).max() < 5 / 20_000**0.5
    assert (shipped.std / fresh.std - 1).abs().max() < 0.05
    own, others = (fit.whiten(next(sample(ffhq_mobile, [3]))[1]) for fit in (shipped, fresh))
    assert own.square().mean().sqrt() == pytest.approx(float(others.square().mean().sqrt()), rel=0.1)


@pytest.mark.weights
@pytest.mark.parametrize(("side", "unknown"), [(16, 0.7), (32, 0.6)])
def test_the_shipped_encoder_is_accurate_and_calibrated(ffhq_mobile, side, unknown):
    shipped = gaussian_for(ffhq_mobile)
    images, ws = zip(*sample(ffhq_mobile, range(6)), strict=True)
    mean, std = shipped.encoder.posterior(downsample(torch.stack(images), size=(side, side)))
    truth = shipped.whiten(torch.stack(ws)[:, 0])
    variance = shipped.axes[1].square()
    error = (mean - truth).square()
    assert float((error * variance).sum()) < unknown * float((truth.square() * variance).sum())
    assert 0.7 < float((error / std.square()).mean()) < 1.4

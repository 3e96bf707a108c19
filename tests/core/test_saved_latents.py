"""Saved latents: files, rendering, blending, and searches from an initial latent."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_mobile_tensors

from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import CheckpointError, SettingError
from pulse_core.generators import build_generator
from pulse_core.latent_search.config import PUBLISHED, SearchConfig
from pulse_core.latent_search.loop import search
from pulse_core.latent_search.solution import latent_from_solutions
from pulse_core.latents.blending import blend
from pulse_core.latents.latent import Latent
from pulse_core.latents.sampling import sample, synthesize

CONFIG = SearchConfig(steps=20, fidelity=0.0)


@pytest.fixture(scope="module")
def other():
    return build_generator(tiny_mobile_tensors(seed=1), name="other")


@pytest.fixture(scope="module")
def targets(tiny):
    faces = torch.stack([image for image, _ in sample(tiny, [3, 4])])
    return downsample(faces, size=(8, 8)).clamp(0, 1)


@pytest.fixture(scope="module")
def solutions(tiny, tiny_fit, targets):
    return search(tiny, targets, tiny_fit, CONFIG)


@pytest.fixture
def latent(tiny, solutions):
    return latent_from_solutions(solutions, tiny, [{"seed": solution.seed} for solution in solutions])


def sampled(tiny, *seeds):
    return Latent(
        torch.stack([ws for _, ws in sample(tiny, seeds)]), generator=tiny.name, generator_hash=tiny.content_hash
    )


def test_save_and_load_preserve_everything(tmp_path, latent):
    latent.save(tmp_path / "a.latent.safetensors")
    again = Latent.load(tmp_path / "a.latent.safetensors")
    assert torch.equal(again.ws, latent.ws)
    assert all(torch.equal(a, b) for a, b in zip(again.noise, latent.noise, strict=True))
    assert (again.generator, again.generator_hash) == (latent.generator, latent.generator_hash)
    assert again.records == latent.records == ({"seed": 0}, {"seed": 0})


def test_zero_noise_maps_are_not_stored(tmp_path, latent):
    assert not latent.noise[-1].any()
    latent.save(tmp_path / "a.latent.safetensors")
    empty = replace(latent, noise=tuple(torch.zeros_like(noise) for noise in latent.noise))
    empty.save(tmp_path / "b.latent.safetensors")
    stored = sum(noise.numel() for noise in latent.noise if noise.any())
    sizes = [(tmp_path / f"{name}.latent.safetensors").stat().st_size for name in "ab"]
    assert sizes[0] - sizes[1] == pytest.approx(4 * stored, abs=1000)


def test_synthesize_reproduces_a_solution(tiny, latent, solutions):
    for image, solution in zip(synthesize(tiny, latent), solutions, strict=True):
        torch.testing.assert_close(image, solution.image, atol=1e-5, rtol=0)
    plain = next(synthesize(tiny, latent, "none"))
    assert (plain - solutions[0].image).abs().max() > 0.01


def test_synthesize_reproduces_a_sample(tiny):
    (image, _), again = next(sample(tiny, [7])), next(synthesize(tiny, sampled(tiny, 7)))
    torch.testing.assert_close(again, image)


def test_latents_of_another_generator_are_refused_and_both_named(tiny, tiny_fit, other, latent, targets):
    names = rf"of tiny \({tiny.content_hash[:12]}\); the generator is other \({other.content_hash[:12]}\)"
    with pytest.raises(SettingError, match=names):
        next(synthesize(other, latent))
    with pytest.raises(SettingError, match=names):
        search(other, targets, tiny_fit, CONFIG, init_latent=latent)
    with pytest.raises(SettingError, match=r"One latent is of tiny \(\w+\), the other of other"):
        blend(latent, sampled(other, 1), 0.5)


@pytest.mark.parametrize("change", ["layers", "noise"])
def test_a_latent_of_another_shape_is_refused(tiny, latent, change):
    changed = {
        "layers": replace(latent, ws=latent.ws[:, :-1], generator_hash=""),
        "noise": replace(latent, noise=latent.noise[:-1], generator_hash=""),
    }[change]
    with pytest.raises(SettingError, match="tiny takes 6 of 16 and 5 maps"):
        next(synthesize(tiny, changed))


HOSTILE = {
    "no ws": ({"noise.0": torch.zeros(1, 1, 4, 4)}, {}),
    "flat ws": ({"ws": torch.zeros(6, 16)}, {}),
    "not finite": ({"ws": torch.full((1, 6, 16), math.nan)}, {}),
    "unnamed tensors": ({"ws": torch.zeros(1, 6, 16), "extra": torch.zeros(1)}, {}),
    "wrong noise": ({"ws": torch.zeros(1, 6, 16), "noise.0": torch.zeros(1, 1, 4, 4)}, {"noise_shapes": "[[8, 8]]"}),
    "endless noise": ({"ws": torch.zeros(1, 6, 16)}, {"noise_shapes": "[[1000000, 1000000]]"}),
    "noise of no size": ({"ws": torch.zeros(1, 6, 16)}, {"noise_shapes": "[[4]]"}),
    "shapes that are no list": ({"ws": torch.zeros(1, 6, 16)}, {"noise_shapes": "7"}),
    "no JSON": ({"ws": torch.zeros(1, 6, 16)}, {"records": "{"}),
    "deep JSON": ({"ws": torch.zeros(1, 6, 16)}, {"records": "[" * 100_000}),
    "too few records": ({"ws": torch.zeros(2, 6, 16)}, {"records": "[{}]"}),
    "records of text": ({"ws": torch.zeros(1, 6, 16)}, {"records": '["a"]'}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_files_that_are_no_latent_are_refused(tmp_path, case):
    tensors, metadata = HOSTILE[case]
    save_file(tensors, tmp_path / "bad.latent.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"bad\.latent\.safetensors (holds .*Accepted: saved latents|has .*GiB)"):
        Latent.load(tmp_path / "bad.latent.safetensors")


def test_truncated_files_are_refused(tmp_path, latent):
    path = tmp_path / "cut.latent.safetensors"
    latent.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        Latent.load(path)


# blending


def test_weights_0_and_1_give_the_parents(tiny):
    a, b = sampled(tiny, 1), sampled(tiny, 2)
    torch.testing.assert_close(blend(a, b, 0.0).ws, a.ws)
    torch.testing.assert_close(blend(a, b, 1.0).ws, b.ws)
    torch.testing.assert_close(blend(a, b, 0.25).ws, a.ws + 0.25 * (b.ws - a.ws))


def test_blending_a_range_of_layers_keeps_the_others(tiny):
    a, b = sampled(tiny, 1), sampled(tiny, 2)
    mixed = blend(a, b, 1.0, 2, 3).ws[0]
    for layer in range(tiny.num_ws):
        torch.testing.assert_close(mixed[layer], (b if layer in (2, 3) else a).ws[0, layer])
    torch.testing.assert_close(blend(a, b, 1.0, -4, -3).ws[0], mixed)


def test_frames_interpolate_between_the_parents(tiny):
    a, b = sampled(tiny, 1, 3), sampled(tiny, 2)
    row = blend(a, b, 1.0, frames=3)
    torch.testing.assert_close(row.ws[[0, 2]], torch.cat([a.ws[:1], b.ws]))
    torch.testing.assert_close(row.ws[1], (a.ws[0] + b.ws[0]) / 2)
    torch.testing.assert_close(row.ws[[3, 5]], torch.cat([a.ws[1:], b.ws]))
    assert [record["weight"] for record in row.records] == [0, 0.5, 1] * 2


def test_blended_noise_has_unit_variance_in_the_blended_layers(latent):
    big = replace(
        latent,
        noise=tuple(torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(6)),
    )
    a, b = big.take([0]), big.take([1])
    mixed = blend(a, b, 0.5, 0, 2)
    for layer, noise in enumerate(mixed.noise):
        assert float(noise.std()) == pytest.approx(1, abs=0.05)
        assert torch.equal(noise, a.noise[layer]) == (layer > 2)


@pytest.mark.parametrize("layers", [(0, 6), (-7, -1), (3, 2)])
def test_invalid_layer_ranges_are_refused(tiny, layers):
    with pytest.raises(SettingError, match="the latent has 6"):
        blend(sampled(tiny, 1), sampled(tiny, 2), 0.5, *layers)


def test_different_numbers_of_latents_are_refused(tiny):
    with pytest.raises(SettingError, match="2 latents on one side and 3 on the other"):
        blend(sampled(tiny, 1, 2), sampled(tiny, 1, 2, 3), 0.5)


# searches from a latent


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, latent_space="W"), replace(PUBLISHED, steps=20)])
def test_a_search_from_its_result_starts_at_that_error(tiny, tiny_fit, targets, config):
    first = search(tiny, targets, tiny_fit, config)
    seen = []
    init = latent_from_solutions(first, tiny, [{}] * len(first))
    again = search(
        tiny, targets, tiny_fit, config, init_latent=init, on_step=lambda s: seen.append(float(s.l2[0])) and None
    )
    assert seen[0] == pytest.approx(first[0].search_l2, rel=1e-3, abs=1e-7)
    for before, after in zip(first, again, strict=True):
        assert after.l2 <= before.l2 * 1.001 or (before.converged and after.converged)


def test_init_latent_keeps_the_result_near(tiny, tiny_fit, targets):
    init = sampled(tiny, 11)
    near, free = (search(tiny, targets[:1], tiny_fit, CONFIG, init_latent=each)[0].ws for each in (init, None))
    distance = [float((tiny_fit.whiten(ws) - tiny_fit.whiten(init.ws[0])).square().mean()) for ws in (near, free)]
    assert distance[0] < distance[1]


def test_one_init_latent_is_used_for_all_images(tiny, tiny_fit, targets):
    config = replace(CONFIG, steps=1)
    assert len(search(tiny, targets, tiny_fit, config, init_latent=sampled(tiny, 1))) == 2
    with pytest.raises(SettingError, match="3 latents in init_latent, and 2 solutions of 2 images"):
        search(tiny, targets, tiny_fit, config, init_latent=sampled(tiny, 1, 2, 3))
    with pytest.raises(SettingError, match="2 latents in init_latent, and 4 solutions"):
        search(tiny, targets, tiny_fit, replace(config, solutions=2), init_latent=sampled(tiny, 1, 2))


def test_records_of_a_blend_are_json(tiny):
    assert json.dumps(blend(sampled(tiny, 1), sampled(tiny, 2), 0.5).records)

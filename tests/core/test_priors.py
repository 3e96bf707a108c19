"""Priors: which variables a search moves, and how likely their latents stay."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pulse_core.degradations.bicubic import downsample
from pulse_core.degradations.jpeg import JPEG
from pulse_core.degradations.noise import Noise
from pulse_core.errors import SettingError
from pulse_core.generators.mapping import SLOPE
from pulse_core.latent_search.config import PRESETS, PUBLISHED, RECOMMENDED, SearchConfig
from pulse_core.latent_search.loop import search
from pulse_core.latent_search.priors import PRIORS
from pulse_core.latent_search.solution import FAR_DISTANCE
from pulse_core.latents.gaussian import LatentGaussian, fit_gaussian
from pulse_core.latents.spaces import radius


@pytest.fixture(scope="module")
def target(tiny):
    z = torch.randn(1, tiny.z_dim, generator=torch.Generator().manual_seed(9))
    return downsample((tiny(z).clamp(-1, 1) + 1) / 2, size=(8, 8)).clamp(0, 1)


def states(generator, target, fit, config, read, seed=0, degradation=None):
    """The value of read(state) at each step."""
    seen = []
    search(
        generator,
        target,
        fit,
        config,
        seed=seed,
        degradation=degradation,
        on_step=lambda state: seen.append(read(state)) and None,
    )
    return seen


def test_whitened_latents_are_standard_normal(tiny, tiny_fit):
    w = tiny.mapping.map_to_w(torch.randn(20000, tiny.z_dim, generator=torch.Generator().manual_seed(5)), None)
    white = tiny_fit.whiten(w)
    assert white.mean(0).abs().max() < 0.1
    torch.testing.assert_close(torch.cov(white.T), torch.eye(tiny.w_dim), atol=0.12, rtol=0)
    torch.testing.assert_close(tiny_fit.colour(white), w, atol=1e-3, rtol=1e-3)
    distance = tiny_fit.distance(w[:, None])
    assert float(distance.mean()) == pytest.approx(1, abs=0.1)
    far = torch.nn.functional.leaky_relu(tiny_fit.mean + 5 * tiny_fit.std, SLOPE)
    assert float(tiny_fit.distance(far[None])) > 2


def test_the_fit_has_the_sample_covariance(tiny):
    random = torch.Generator().manual_seed(0)
    z = torch.randn(2000, tiny.z_dim, generator=random)
    v = torch.nn.functional.leaky_relu(tiny.mapping.map_to_w(z, None), 1 / SLOPE)
    fit = fit_gaussian(tiny, 2000)
    torch.testing.assert_close(fit.covariance, torch.cov(v.T.double()).float(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(fit.covariance.diagonal(), fit.std.square(), rtol=1e-6, atol=0)


def test_without_a_covariance_the_dimensions_are_independent(tiny_fit):
    plain = LatentGaussian(tiny_fit.mean, tiny_fit.std)
    white = torch.randn(3, len(plain.mean), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain.colour(white), plain.to_ws(white))
    torch.testing.assert_close(plain.whiten(plain.colour(white)), white, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("space", ["W", "W+"])
def test_every_prior_reduces_the_error_in_every_space(tiny, tiny_fit, target, prior, space):
    base = PUBLISHED if prior == "sphere" else RECOMMENDED
    config = replace(base, steps=40, prior=prior, latent_space=space, init="random", prior_sample_scale=1.0)
    l2 = states(tiny, target, tiny_fit, config, lambda state: float(state.best_l2))
    assert l2[-1] < 0.85 * l2[0]
    (solution,) = search(tiny, target, tiny_fit, replace(config, steps=3))
    same = torch.equal(solution.ws, solution.ws[:1].expand_as(solution.ws))
    assert same == (space == "W")


def test_a_large_sigma_keeps_latents_likely_for_unnatural_targets(tiny, tiny_fit):
    noise = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    loose, tight = (
        search(tiny, noise, tiny_fit, replace(RECOMMENDED, steps=60, sigma_start=t, sigma_end=t))[0]
        for t in (0.003, 1.0)
    )
    assert tight.distance < FAR_DISTANCE < loose.distance
    assert loose.is_far
    assert loose.residual_all < tight.residual_all


def test_the_shell_prior_keeps_the_norm(tiny, tiny_fit, target):
    config = replace(RECOMMENDED, steps=60, prior="shell", sigma_start=1.0, sigma_end=1.0, prior_sample_scale=0.0)
    shell = states(tiny, target, tiny_fit, config, lambda state: state.latent.norm())
    free = states(tiny, target, tiny_fit, replace(config, prior="whitened"), lambda state: state.latent.norm())
    assert abs(float(shell[-1]) - math.sqrt(tiny.w_dim)) < abs(float(free[-1]) - math.sqrt(tiny.w_dim))


def test_layers_finer_than_the_target_have_smaller_offsets(tiny, tiny_fit, target):
    assert tiny.style_sides == (4, 8, 8, 16, 16, 16)

    (solution,) = search(tiny, target, tiny_fit, replace(RECOMMENDED, steps=20))
    first, *others = ((tiny_fit.whiten(ws) - tiny_fit.whiten(solution.ws).mean(0)).abs().mean() for ws in solution.ws)
    assert max(others[2:]) < first  # offsets of 16-pixel layers have half the std of those up to the target's 8


def test_noise_maps_move_less_for_noisy_targets(tiny, tiny_fit, target):
    def moved(std: float) -> float:
        config = replace(RECOMMENDED, steps=20)
        maps = states(tiny, target, tiny_fit, config, lambda s: s.noise[2].clone(), degradation=Noise(std))
        return float((maps[-1] - maps[0]).abs().mean())

    assert moved(0.5) < 0.5 * moved(0.0)


def test_noise_variance_is_per_image_in_a_batch(tiny, tiny_fit, target):
    both = torch.cat([target, target.mean((2, 3), keepdim=True).expand_as(target)])
    config = replace(RECOMMENDED, steps=8, batch_size=2, fidelity=0.0)
    together = search(tiny, both, tiny_fit, config, degradation=JPEG(20))
    alone = search(tiny, both, tiny_fit, replace(config, batch_size=1), degradation=JPEG(20))
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.image, b.image, atol=2e-3, rtol=0)
        assert a.converged == b.converged


def test_a_staged_search_frees_offsets_then_noise(tiny, tiny_fit, target):
    config = replace(RECOMMENDED, steps=30, latent_space="staged")
    found = []
    for stop in (9, 15, 25):
        run = []
        (solution,) = search(
            tiny,
            target,
            tiny_fit,
            replace(config, eps=0.0),
            on_step=lambda s, stop=stop, run=run: run.append([n.clone() for n in s.noise]) or s.step == stop,
        )
        has_offsets = (solution.ws - solution.ws[:1]).abs().max() > 1e-6
        moved = not all(torch.equal(a, b) for a, b in zip(run[0], run[-1], strict=True))
        found.append((bool(has_offsets), moved))
    assert found == [(False, False), (True, False), (True, True)]


def test_noise_maps_are_constrained_by_the_sphere_or_the_prior(tiny, tiny_fit, target):
    def noise(config):
        return states(tiny, target, tiny_fit, config, lambda s: [n.clone() for n in s.noise])

    published = noise(replace(PUBLISHED, steps=5))
    for first, last in zip(published[0], published[-1], strict=True):
        torch.testing.assert_close(radius(last), radius(first), rtol=1e-5, atol=0)
    free = noise(replace(RECOMMENDED, steps=60, sigma_start=1e-3, sigma_end=1e-3))
    tight = noise(replace(RECOMMENDED, steps=60, sigma_start=1.0, sigma_end=1.0))
    moved = [
        sum(float((last - first).square().sum()) for first, last in zip(maps[0], maps[-1], strict=True))
        for maps in (free, tight)
    ]
    assert 0 < moved[1] < 0.1 * moved[0]


def test_solutions_spread_with_prior_sample_scale(tiny, tiny_fit, target):
    def spread(scale: float) -> float:
        config = replace(RECOMMENDED, steps=30, prior_sample_scale=scale, noise="zero", solutions=3)
        ws = torch.stack([solution.ws for solution in search(tiny, target, tiny_fit, config)])
        return float(ws.std(0).mean())

    assert spread(0.0) < 1e-6 < spread(0.3) < spread(1.0)


def test_candidates_are_halved_and_the_best_continues(tiny, tiny_fit, target):
    config = replace(RECOMMENDED, steps=30, candidates=4, trial_steps=5, prior_sample_scale=0.3)
    seen = []
    (solution,) = search(
        tiny, target, tiny_fit, config, on_step=lambda s: seen.append((s.step, float(s.best_l2), s.progress))
    )
    trials = seen[:20]
    assert [step for step, *_ in trials] == list(range(5)) * 4  # four candidates, five steps each
    assert [step for step, *_ in seen[20:30]] == list(range(5, 10)) * 2  # the better two continue
    assert [step for step, *_ in seen[30:]] == list(range(10, 31))  # one is left
    after = sorted(trials[i][1] for i in (4, 9, 14, 19))
    assert seen[20][1] <= after[1]
    assert seen[-1][2] == (51, 51)
    assert solution.steps == 30


def test_presets_are_the_default_and_the_published_settings(tiny):
    assert SearchConfig() == PRESETS["recommended"]
    assert (PUBLISHED.loss, PUBLISHED.steps, PUBLISHED.fidelity) == ("100*L2+0.05*GEOCROSS", 100, 0.0)


def test_a_small_background_weight_reduces_the_residual_of_the_face(tiny, tiny_fit, target):
    """The target has a background that the generator cannot draw."""
    strange = target.clone()
    strange[..., :, :2] = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    face = [
        search(tiny, strange, tiny_fit, replace(RECOMMENDED, steps=40, background_weight=weight))[0].residual_face
        for weight in (0.02, 1.0)
    ]
    assert face[0] < face[1]


def test_incompatible_settings_are_refused():
    with pytest.raises(SettingError, match="latent_space is 'staged' and prior is 'sphere'"):
        replace(PUBLISHED, latent_space="staged")

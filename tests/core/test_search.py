"""What a search guarantees: seeds, batches, the best iterate, callbacks and errors."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pulse_core.degradations.bicubic import BicubicDownsample, downsample
from pulse_core.errors import ImageError, SettingError
from pulse_core.latent_search.config import PRESETS, PUBLISHED, SearchConfig
from pulse_core.latent_search.loop import search
from pulse_core.latent_search.losses import mean_squared_error
from pulse_core.latent_search.optimizers import OPTIMIZERS
from pulse_core.latent_search.schedules import SCHEDULES
from pulse_core.latents.spaces import radius

FAST = SearchConfig(steps=12)


@pytest.fixture(scope="module")
def targets(tiny):
    """Three images that the tiny generator can make, at 8x8."""
    z = torch.randn(3, tiny.z_dim, generator=torch.Generator().manual_seed(9))
    return downsample((tiny(z).clamp(-1, 1) + 1) / 2, size=(8, 8)).clamp(0, 1)


def same(a, b):
    return torch.equal(a.image, b.image) and torch.equal(a.ws, b.ws) and a.l2 == b.l2


@pytest.mark.parametrize("preset", PRESETS)
def test_a_search_reduces_and_reports_the_error(tiny, tiny_fit, targets, preset):
    seen = []
    config = dataclasses.replace(PRESETS[preset], steps=60, prior_sample_scale=1.5)  # starts far from all targets
    (solution,) = search(tiny, targets[:1], tiny_fit, config, on_step=lambda s: seen.append(float(s.l2)))
    assert solution.l2 < 0.5 * seen[0]
    assert len(seen) == 61
    assert solution.steps == 60
    assert solution.l2 == pytest.approx(float(mean_squared_error(solution.downscaled, targets[0]).mean()), rel=1e-6)


def test_the_result_is_the_best_iterate_with_its_own_downscaling(tiny, tiny_fit, targets):
    losses = []
    config = SearchConfig(  # such a learning rate makes the loss jump
        steps=20, learning_rate=100.0, schedule="fixed", eps=0.0, full_every=1, fidelity=0.0, sigma_start=0.02
    )
    (solution,) = search(tiny, targets[:1], tiny_fit, config, on_step=lambda s: losses.append(float(s.loss)))
    assert solution.best_step == min(range(21), key=losses.__getitem__) != 20
    again = (tiny.synthesis(solution.ws[None], noise=[n[None] for n in solution.noise]) + 1) / 2
    torch.testing.assert_close(again[0].clamp(0, 1), solution.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(downsample(solution.image, size=(8, 8)), solution.downscaled, atol=1e-6, rtol=0)


def test_a_search_converges_if_any_iterate_did(tiny, tiny_fit, targets):
    rows = []

    def record(state):
        rows.append((float(state.l2), float(state.terms["L2"])))

    config = SearchConfig(steps=60, eps=0.005, loss="100*L2", full_every=1, fidelity=0.0, background_weight=1.0)
    for seed in range(4):
        rows.clear()
        (solution,) = search(tiny, targets[:1], tiny_fit, config, seed=seed, on_step=record)
        assert solution.l2 == pytest.approx(rows[solution.best_step][0], rel=1e-5)  # also where colours leave 0..1
        assert solution.converged == any(l2 <= config.eps for l2, _ in rows)


def test_the_same_seed_gives_the_same_bytes(tiny, tiny_fit, targets):
    first, again = (search(tiny, targets[:1], tiny_fit, FAST, seed=5)[0] for _ in range(2))
    assert same(first, again)


def test_seed_zero_is_a_seed(tiny, tiny_fit, targets):
    zero, one = (search(tiny, targets[:1], tiny_fit, FAST, seed=s)[0] for s in (0, 1))
    assert zero.seed == 0
    assert not same(zero, one)
    assert same(zero, search(tiny, targets[:1], tiny_fit, FAST, seed=0)[0])


def test_the_global_random_state_is_untouched(tiny, tiny_fit, targets):
    before = torch.get_rng_state()
    search(tiny, targets[:1], tiny_fit, FAST)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_image_does_not_depend_on_its_batch(tiny, tiny_fit, targets):
    together = search(tiny, targets, tiny_fit, FAST)
    for index, solution in enumerate(together):
        assert solution.index == index
        assert same(solution, search(tiny, targets[index], tiny_fit, FAST)[0])


def test_batch_size_changes_rounding_only(tiny64, tiny_fit, targets):
    config = dataclasses.replace(FAST, solutions=2)
    alone = search(tiny64, targets, tiny_fit, config)
    together = search(tiny64, targets, tiny_fit, dataclasses.replace(config, batch_size=4))  # 6 jobs: 4 and 2
    for a, b in zip(alone, together, strict=True):
        assert (a.index, a.seed, a.best_step) == (b.index, b.seed, b.best_step)
        torch.testing.assert_close(a.image, b.image, atol=1e-9, rtol=0)


def test_solutions_of_one_input_differ(tiny, tiny_fit, targets):
    solutions = search(tiny, targets[:2], tiny_fit, dataclasses.replace(FAST, solutions=3), seed=7)
    assert [s.index for s in solutions] == [0, 0, 0, 1, 1, 1]
    assert {(s.index, s.seed) for s in solutions} == {(index, seed) for index in (0, 1) for seed in (7, 8, 9)}
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (solutions[a].image - solutions[b].image).abs().max() > 0.01
    (one,) = (s for s in solutions[:3] if s.seed == 8)
    assert same(one, search(tiny, targets[0], tiny_fit, FAST, seed=8)[0])


def test_each_image_may_have_its_own_seed(tiny, tiny_fit, targets):
    solutions = search(tiny, targets, tiny_fit, FAST, seed=[4, 2, 2**64 - 1])
    assert [s.seed for s in solutions] == [4, 2, 2**64 - 1]
    with pytest.raises(SettingError, match="2 seeds were given for 3 images"):
        search(tiny, targets, tiny_fit, FAST, seed=[1, 2])


def test_seeds_wrap_around_at_2_to_the_64(tiny, tiny_fit, targets):
    solutions = search(tiny, targets[0], tiny_fit, dataclasses.replace(FAST, solutions=2, steps=1), seed=2**64 - 1)
    assert {s.seed for s in solutions} == {2**64 - 1, 0}


def test_converged_depends_on_eps(tiny, tiny_fit, targets):
    (found,) = search(tiny, targets[:1], tiny_fit, SearchConfig(steps=5, eps=1.0))
    assert found.converged
    (missed,) = search(tiny, targets[:1], tiny_fit, SearchConfig(steps=5, eps=0.0))
    assert not missed.converged
    assert missed.image.shape == (3, 32, 32)  # a picture is returned all the same
    assert missed.l2 > 0


def test_an_iterate_within_eps_beats_a_smaller_loss_outside(tiny, tiny_fit, targets):
    rows = []
    config = SearchConfig(steps=40, eps=0.004, loss="1e-6*L2+1*GEOCROSS")  # the loss nearly ignores the L2
    (solution,) = search(
        tiny, targets[:1], tiny_fit, config, on_step=lambda s: rows.append((float(s.loss), float(s.l2)))
    )
    within = [i for i, (_, l2) in enumerate(rows) if l2 <= config.eps]
    candidates = within or range(len(rows))
    assert solution.best_step == min(candidates, key=lambda i: rows[i][0])


def test_latents_and_noise_stay_on_their_spheres(tiny, tiny_fit, targets):
    states = []

    def record(state):
        states.append((state.latent.clone(), [n.clone() for n in state.noise]))

    search(
        tiny, targets[:1], tiny_fit, dataclasses.replace(PUBLISHED, steps=8, trainable_noise_layers=2), on_step=record
    )
    (latent, noise), (moved, moved_noise) = states[0], states[-1]
    torch.testing.assert_close(radius(moved), radius(latent), rtol=1e-5, atol=0)
    assert (moved - latent).abs().max() > 0.01
    for layer in range(5):
        torch.testing.assert_close(radius(moved_noise[layer]), radius(noise[layer]), rtol=1e-5, atol=0)
        assert torch.equal(moved_noise[layer], noise[layer]) == (layer >= 2)
    assert not noise[-1].any()  # the published zero of the last layer


@pytest.mark.parametrize("noise", ["fixed", "zero"])
def test_fixed_and_zero_noise_does_not_change(tiny, tiny_fit, targets, noise):
    states = []
    config = SearchConfig(steps=3, noise=noise)
    search(tiny, targets[:1], tiny_fit, config, on_step=lambda s: states.append([n.clone() for n in s.noise]))
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[-1], strict=True))
    assert any(n.any() for n in states[0]) == (noise == "fixed")


def test_latent_space_w_has_one_style_for_all_layers(tiny, tiny_fit, targets):
    (solution,) = search(tiny, targets[:1], tiny_fit, SearchConfig(steps=3, latent_space="W"))
    assert torch.equal(solution.ws, solution.ws[:1].expand_as(solution.ws))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimizer_and_schedule_runs(tiny, tiny_fit, targets, optimizer, schedule):
    rates = []
    config = SearchConfig(steps=10, optimizer=optimizer, schedule=schedule, learning_rate=0.1)
    (solution,) = search(tiny, targets[:1], tiny_fit, config, on_step=lambda s: rates.append(s.learning_rate))
    assert solution.image.isfinite().all()
    assert max(rates) <= 0.1 * (1 + 1e-9)
    assert min(rates) > 0


def test_the_callback_can_stop_the_search(tiny, tiny_fit, targets):
    (solution,) = search(tiny, targets[:1], tiny_fit, SearchConfig(steps=1000), on_step=lambda s: s.step == 4)
    assert solution.steps == 4


def test_exceptions_of_the_callback_propagate(tiny, tiny_fit, targets):
    class InterruptedError_(Exception):
        pass

    def stop(state):
        if state.step == 3:
            raise InterruptedError_

    with pytest.raises(InterruptedError_):
        search(tiny, targets[:1], tiny_fit, FAST, on_step=stop)


def test_nan_in_one_image_does_not_affect_the_others(tiny, tiny_fit, targets, monkeypatch):
    calls = []

    class Broken(BicubicDownsample):
        def forward(self, x):
            y = super().forward(x)
            calls.append(1)
            if len(x) == 2 and len(calls) > 3:
                y = torch.stack([y[0] * torch.nan, y[1]])
            return y

    config = dataclasses.replace(FAST, batch_size=2)
    broken, intact = search(tiny, targets[:2], tiny_fit, config, degradation=Broken(size=(8, 8)))
    assert broken.best_step <= 3
    assert broken.image.isfinite().all()
    assert intact.best_step > 3


def test_no_finite_loss_is_an_error(tiny, tiny_fit, targets):
    broken = dataclasses.replace(tiny_fit, mean=tiny_fit.mean * torch.nan)
    with pytest.raises(SettingError, match="The search for image 0 with seed 3 met no finite loss"):
        search(tiny, targets[:1], broken, FAST, seed=3)


def test_a_degradation_may_set_the_target_size(tiny, tiny_fit):
    target = torch.rand(1, 3, 7, 7)
    (solution,) = search(tiny, target, tiny_fit, SearchConfig(steps=2), degradation=BicubicDownsample(size=(7, 7)))
    assert solution.downscaled.shape == (3, 7, 7)


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("steps", -1, "steps is -1."),
        ("eps", -1e-3, "eps is -0.001."),
        ("eps", float("nan"), "eps is nan."),
        ("learning_rate", 0.0, "learning_rate is 0.0."),
        ("solutions", 0, "solutions is 0."),
        ("optimizer", "lbfgs", "optimizer is 'lbfgs'."),
        ("schedule", "cosine", "schedule is 'cosine'."),
        ("noise", "loud", "noise is 'loud'."),
        ("latent_space", "Z", "latent_space is 'Z'."),
        ("loss", "100*LPIPS", "names the term 'LPIPS'"),
    ],
)
def test_settings_out_of_range_are_refused(setting, value, found):
    with pytest.raises(SettingError) as caught:
        SearchConfig(**{setting: value})
    assert found in str(caught.value)
    assert caught.value.accepted
    assert caught.value.remedy


@pytest.mark.weights
def test_upscaling_the_sample_face_with_the_default_generator(ffhq_mobile):
    from conftest import ROOT

    from pulse_core.pipeline import upscale

    seen = []
    picture = ROOT / "samples" / "eileen_collins_32x32.png"
    (solution,) = upscale(
        picture, ffhq_mobile, config=SearchConfig(steps=12), on_step=lambda s: seen.append(float(s.l2))
    )
    assert solution.image.shape == (3, 1024, 1024)
    assert solution.l2 < 0.6 * seen[0]


def test_targets_of_different_sizes_match_separate_searches(tiny, tiny_fit):
    random = torch.Generator().manual_seed(0)
    targets = [torch.rand(3, side, side, generator=random) for side in (8, 8, 5, 32, 8)]
    config = SearchConfig(steps=3, batch_size=2)
    seen = []
    together = search(tiny, targets, tiny_fit, config, seed=[1, 2, 3, 4, 5], on_step=lambda s: seen.append(s.progress))
    assert [solution.index for solution in together] == [0, 1, 2, 3, 4]
    assert [solution.downscaled.shape[-1] for solution in together] == [8, 8, 5, 32, 8]
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)
    for solution, target, seed in zip(together[2:], targets[2:], (3, 4, 5), strict=True):
        (alone,) = search(tiny, target, tiny_fit, config, seed=seed)
        assert torch.equal(alone.image, solution.image)
        assert alone.l2 == solution.l2


def test_no_target_is_refused(tiny, tiny_fit):
    with pytest.raises(ImageError, match="There is no target"):
        search(tiny, [], tiny_fit)


def test_less_fidelity_gives_a_larger_error_and_sigma(tiny, tiny_fit):
    target = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    full, half, none = (
        search(tiny, target, tiny_fit, SearchConfig(steps=20, fidelity=each))[0] for each in (1.0, 0.5, 0.0)
    )
    assert full.l2 < half.l2 < none.l2
    assert SearchConfig(fidelity=0.0).sigma_reached == 2 * SearchConfig().sigma_end == 2 * SearchConfig().sigma_reached

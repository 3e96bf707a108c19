"""Batches: out-of-memory errors, batch sizes, the ranking of solutions, and different degradations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from zoo import ZOO

from pulse_core.degradations import Chain, parse_degradation
from pulse_core.degradations.bicubic import BicubicDownsample, downsample
from pulse_core.degradations.per_image import PerImage, combine, operator_of
from pulse_core.errors import ImageError, SettingError
from pulse_core.latent_search import batches
from pulse_core.latent_search.batches import found_in_parts
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latent_search.loop import iter_search, search
from pulse_core.latent_search.solution import Job, ranking
from pulse_core.latents.sampling import sample
from pulse_core.loading.load import generator_from

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB.\nMore."
CPU = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


@pytest.fixture(scope="module")
def targets(tiny):
    return downsample(torch.stack([image for image, _ in sample(tiny, range(5))]), size=(8, 8)).clamp(0, 1)


@pytest.fixture
def memory_for(tiny, monkeypatch):
    """memory_for(n): more than n images raise an out-of-memory error. Returns the batch sizes that were tried."""

    def limit(images, message=CUDA):
        tried, render = [], tiny.synthesis.render

        def confined(ws, noise):
            tried.append(len(ws))
            if len(ws) > images:
                raise torch.OutOfMemoryError(message)
            return render(ws, noise)

        monkeypatch.setattr(tiny.synthesis, "render", confined)
        return tried

    return limit


def test_a_batch_that_runs_out_of_memory_is_halved(tiny, tiny_fit, targets, memory_for):
    config = SearchConfig(steps=3, batch_size=5, solutions=2)
    full_batch = search(tiny, targets, tiny_fit, config)
    tried, freed = memory_for(2), []
    parts = list(iter_search(tiny, targets, tiny_fit, config, make_room=lambda: freed.append(1)))
    parts = [parts[row] for row in ranking(parts)]
    assert [(s.index, s.seed) for s in parts] == [(s.index, s.seed) for s in full_batch]
    for part, one in zip(parts, full_batch, strict=True):
        torch.testing.assert_close(part.image, one.image, atol=1e-4, rtol=0)
    assert tried[:2] == [5, 2]
    assert set(tried) == {5, 3, 2, 1}
    assert len(freed) == sum(size > 2 for size in tried)


def test_a_single_image_is_retried_once_and_then_refused(tiny, tiny_fit, targets, memory_for):
    tried, freed = memory_for(0), []
    with pytest.raises(SettingError, match=r"even one image \(CUDA out of memory\. Tried to allocate 2\.00 GiB\.\)"):
        list(iter_search(tiny, targets[:1], tiny_fit, SearchConfig(steps=3), make_room=lambda: freed.append(1)))
    assert (tried, len(freed)) == ([1, 1], 2)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CUDA), RuntimeError(CPU), MemoryError()])
def test_every_out_of_memory_error_is_handled(error):
    errors = [error]

    def find(jobs, *, short):
        if errors:
            raise errors.pop()
        return list(jobs)

    jobs = tuple(Job(index, 0) for index in range(3))
    assert tuple(found_in_parts(jobs, find, lambda: None)) == jobs


def test_other_errors_propagate():
    def find(jobs, *, short):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(found_in_parts((Job(0, 0), Job(1, 0)), find, lambda: None))


def test_solutions_of_each_image_are_ranked_by_score(tiny, tiny_fit, targets):
    config = SearchConfig(steps=10, solutions=6, eps=0.004)
    found = search(tiny, targets[:2], tiny_fit, config)
    assert [solution.index for solution in found] == [0] * 6 + [1] * 6
    for rows in (found[:6], found[6:]):
        assert {solution.seed for solution in rows} == set(range(6))
        scores = [solution.score for solution in rows]
        assert scores == sorted(scores)
    for solution in found:
        assert solution.score == pytest.approx(solution.distance + solution.search_l2 / 0.004)


def test_gradient_checkpointing_is_used_where_one_image_does_not_fit(tiny, tiny_fit, targets, monkeypatch):
    render, tried = tiny.synthesis.render, []

    def confined(ws, noise):
        tried.append((len(ws), tiny.synthesis.recomputes))
        if len(ws) > 1 or not tiny.synthesis.recomputes:
            raise torch.OutOfMemoryError(CUDA)
        return render(ws, noise)

    config = SearchConfig(steps=3, batch_size=2)
    full_batch = search(tiny, targets[:2], tiny_fit, config)
    monkeypatch.setattr(tiny.synthesis, "render", confined)
    parts = list(iter_search(tiny, targets[:2], tiny_fit, config))
    assert tried[:3] == [(2, False), (1, False), (1, True)]
    for part, one in zip(parts, full_batch, strict=True):
        torch.testing.assert_close(part.image, one.image, atol=1e-4, rtol=0)
    with pytest.raises(SettingError, match="even one image"):
        search(tiny, targets[:1], tiny_fit, replace(config, gradient_checkpointing="never"))
    assert not tiny.synthesis.recomputes


@pytest.mark.parametrize("name", ZOO)
def test_gradient_checkpointing_changes_rounding_only(name):
    example = ZOO[name]()
    generator = generator_from(example.tensors, example.metadata, name=name)
    ws = torch.randn(1, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    noise = [each.clone().requires_grad_() for each in generator.synthesis.const_noise()]
    kept = generator.synthesis(ws, noise=noise)
    with generator.synthesis.gradient_checkpointing(True):
        again = generator.synthesis(ws, noise=noise)
        gradients = torch.autograd.grad(again.square().sum(), [ws, *noise], allow_unused=True)
    torch.testing.assert_close(again, kept, rtol=0, atol=1e-6)
    expected = torch.autograd.grad(kept.square().sum(), [ws, *noise], allow_unused=True)
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-5 * float(expected[0].abs().max()))


@pytest.mark.parametrize(
    ("free", "jobs", "size"), [(10_000, 100, 16), (10_000, 5, 4), (1_000, 100, 4), (150, 100, 1), (0, 9, 1)]
)
def test_batch_size_on_a_gpu_follows_free_memory(tiny, monkeypatch, free, jobs, size):
    monkeypatch.setattr(batches, "free_memory", lambda device: free)
    monkeypatch.setattr(batches, "search_memory", lambda generator, images: 140 * images)
    monkeypatch.setattr(batches, "_device_of", lambda generator: torch.device("cuda"))
    assert batches.batch_size_on(tiny, SearchConfig(), jobs) == size
    assert batches.batch_size_on(tiny, SearchConfig(batch_size=7), jobs) == 7
    assert batches.batch_size_on(tiny, SearchConfig(candidates=4), jobs) == 1
    monkeypatch.setattr(batches, "free_memory", lambda device: None)
    assert batches.batch_size_on(tiny, SearchConfig(), jobs) == 1


def test_batch_size_on_a_cpu_is_1(tiny):
    assert batches.batch_size_on(tiny, SearchConfig(), 9) == 1


DIFFERENT = (None, "noise(0.05)", "blur(1) + grey", "salt_and_pepper(0.2)", "jpeg(40)", None)


def test_a_batch_of_different_degradations_matches_separate_searches(tiny, tiny_fit, targets):
    """Two batches of three, with and without weight maps, noise variance and operator."""
    pictures = [*targets, targets[0].flip(-1)]
    degradations = [None if text is None else parse_degradation(text) for text in DIFFERENT]
    together, sizes = SearchConfig(steps=8, batch_size=3, full_every=3), []
    found = search(
        tiny,
        pictures,
        tiny_fit,
        together,
        degradation=degradations,
        on_step=lambda state: sizes.append(len(state.jobs)),
    )
    assert set(sizes) == {3}
    for solution, picture, degradation in zip(found, pictures, degradations, strict=True):
        (alone,) = search(tiny, picture, tiny_fit, replace(together, batch_size=1), degradation=degradation)
        torch.testing.assert_close(solution.ws, alone.ws, atol=1e-5, rtol=0)
        torch.testing.assert_close(solution.residual, alone.residual, atol=1e-5, rtol=0)
        # What follows amplifies rounding, most where no picture agrees with the target.
        torch.testing.assert_close(solution.image, alone.image, atol=0.01, rtol=0)
        torch.testing.assert_close(solution.downscaled, alone.downscaled, atol=0.005, rtol=0)
        assert solution.converged == alone.converged
        assert (solution.tolerance, solution.l2) == pytest.approx((alone.tolerance, alone.l2), abs=1e-5)


def test_operators_with_their_own_size_are_not_combined(tiny, tiny_fit, targets):
    degradations = [None, parse_degradation("area(8)"), BicubicDownsample(factor=4), parse_degradation("area(8)")]
    sizes = []
    search(
        tiny,
        targets[:4],
        tiny_fit,
        SearchConfig(steps=1, batch_size=4),
        degradation=degradations,
        on_step=lambda state: sizes.append([job.index for job in state.jobs]),
    )
    assert sizes[::2] == [[0], [1, 3], [2]]


def test_per_image_applies_each_operator_to_its_image():
    parts = [parse_degradation("grey"), None, parse_degradation("salt_and_pepper(0.1) + noise(0.2)")]
    batch, y = Chain([BicubicDownsample(size=(4, 4)), PerImage(parts)]), torch.rand(3, 3, 8, 8)
    y[2, :, :2] = 0
    small = batch.forward(y)
    for row in range(len(parts)):
        own, one = operator_of(batch, row), slice(row, row + 1)
        assert torch.equal(own.forward(y[one]), small[one])
        assert torch.equal(own.project(small[one]), batch.project(small)[one])
        assert torch.equal(own.noise_variance(small[one]), batch.noise_variance(small)[one])
        weights = own.weight_map(small[one])
        assert torch.equal(torch.ones(1, 1, 4, 4) if weights is None else weights, batch.weight_map(small)[one])
        random = torch.Generator().manual_seed(0)
        assert (own.apply(y[one], random).shape, own.output_size(8, 8)) == (small[one].shape, (4, 4))
    assert batch.takes_any_size
    assert PerImage([None, parts[0]]).weight_map(y[:2]) is None
    assert combine([parts[0], parts[0]]) is parts[0]
    assert combine([None, None]) is None
    with pytest.raises(ImageError, match="there are 3 degradations"):
        batch.forward(y[:2])
    with pytest.raises(ImageError, match="2 different sizes"):
        PerImage([None, BicubicDownsample(factor=2)]).output_size(8, 8)

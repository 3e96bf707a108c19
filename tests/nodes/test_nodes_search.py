"""The whole chain of nodes on a tiny generator, in inference mode as in the host."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image


@pytest.fixture
def search(pack, generator, gaussian, target):
    """search(**inputs) -> image, downscaled, latent, report as a dict, residual; sockets are connected unless given."""

    def run(**inputs):
        wired = {"stylegan": generator, "image": target, "gaussian": gaussian, "steps": 4, "preview_every": 0}
        result, downscaled, latent, report, residual = pack.run("PULSESearch", **{**wired, **inputs})
        return result, downscaled, latent, json.loads(report), residual

    return run


@pytest.fixture
def states(pack, monkeypatch):
    """(step, L2 of each image, seeds) of every step that the progress bar saw."""
    seen, progress = [], pack.submodule("nodes.host").Progress
    original = progress.step

    def spy(self, state):
        seen.append((state.step, state.l2.tolist(), [job.seed for job in state.jobs]))
        return original(self, state)

    monkeypatch.setattr(progress, "step", spy)
    return seen


def assert_is_image(image, *shape):
    assert image.shape == shape
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert 0 <= float(image.min()) < float(image.max()) <= 1


def test_sampling_gives_images_and_latents(pack, generator):
    image, latent = pack.run("PULSESampleFace", stylegan=generator, seed=3, count=2)
    assert_is_image(image, 2, 32, 32, 3)
    assert latent.shape == (2, 6, 16)
    (second, _) = pack.run("PULSESampleFace", stylegan=generator, seed=4)
    assert torch.equal(image[1:], second), "the images of a count come from seed, seed + 1, ..."


def test_the_last_seed_is_followed_by_the_first(pack, generator):
    image, _ = pack.run("PULSESampleFace", stylegan=generator, seed=2**64 - 1, count=2)
    assert torch.equal(image[1:], pack.run("PULSESampleFace", stylegan=generator, seed=0)[0])


def test_truncation_0_is_one_mean_face(pack, generator):
    image, _ = pack.run("PULSESampleFace", stylegan=generator, count=2, truncation=0.0)
    assert torch.allclose(image[0], image[1], atol=1e-6)
    varied, _ = pack.run("PULSESampleFace", stylegan=generator, count=2, truncation=1.0)
    assert not torch.allclose(varied[0], varied[1], atol=1e-3)


def test_downsampling_by_factor_and_by_size_agree(pack, generator):
    image, _ = pack.run("PULSESampleFace", stylegan=generator)
    (by_factor,) = pack.run("BicubicDownsample", image=image, factor=4)
    (by_size,) = pack.run("BicubicDownsample", image=image, mode="size", width=8, height=8)
    assert_is_image(by_factor, 1, 8, 8, 3)
    assert torch.allclose(by_factor, by_size, atol=1e-6)
    (flat,) = pack.run("BicubicDownsample", image=image, mode="size", width=16, height=8)
    assert flat.shape == (1, 8, 16, 3)


def test_the_chain_gives_an_image_its_downscaling_a_latent_a_report_and_the_residual(search, generator):
    result, downscaled, latent, report, residual = search(seed=5)
    assert_is_image(result, 1, 32, 32, 3)
    assert_is_image(downscaled, 1, 8, 8, 3)
    assert_is_image(residual, 1, 8, 8, 3)
    assert latent.shape == (1, 6, 16)
    assert (report["generator"], report["generator_hash"]) == ("tiny", generator.content_hash)
    (row,) = report["images"]
    errors = {"l2", "search_l2", "eps", "converged", "max_error", "max_error_at", "residual_face", "residual_all"}
    warnings = {"distance", "is_far", "large_residual_face"}
    size = {"lr_size", "input_size", "estimate", "degradation"}
    assert set(row) == {"image", "seed", "steps", "search_score", "summary", *size, *errors, *warnings}
    assert (row["image"], row["seed"], row["steps"], row["eps"]) == (0, 5, 4, 0.004)


def test_a_search_reduces_the_error(search, states, target):
    _, downscaled, _, report, _ = search(steps=40, eps=0.0, preset="published")
    start, (row,) = states[0][1][0], report["images"]
    assert row["l2"] < start / 2
    assert row["l2"] == pytest.approx(float((downscaled - target).square().mean()), rel=1e-4)


def test_the_downscaled_output_is_the_downscaling_of_the_result(pack, search):
    result, downscaled, *_ = search()
    (again,) = pack.run("BicubicDownsample", image=result, factor=4)
    assert torch.allclose(again, downscaled, atol=1e-5)


def test_the_residual_is_what_the_generators_own_image_lacks(pack, search, generator, target):
    """Around grey, as all but the wildest fit between 0 and 1."""
    _, _, latent, report, residual = search(seed=3, fidelity=1.0)
    (own,) = pack.run("PULSESynthesize", stylegan=generator, latent=latent)
    (small,) = pack.run("BicubicDownsample", image=own, factor=4)
    torch.testing.assert_close(residual, (0.5 + target - small).clamp(0, 1), atol=1e-4, rtol=0)
    (row,) = report["images"]
    assert row["residual_all"] == pytest.approx(float((target - small).square().mean().sqrt()), abs=1e-3)


@pytest.mark.parametrize("eps", [0.0, 1.0])
def test_the_report_says_whether_the_image_was_found(search, eps):
    _, _, _, report, _ = search(eps=eps)
    assert [row["converged"] for row in report["images"]] == [eps == 1.0]


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_the_same_seed_gives_the_same_bytes(search, seed):
    first, second = search(seed=seed), search(seed=seed)
    assert first[0].numpy().tobytes() == second[0].numpy().tobytes()
    assert first[3] == second[3]
    assert [row["seed"] for row in first[3]["images"]] == [seed]


def test_another_seed_gives_another_image(search):
    images = [search(seed=seed)[0] for seed in (0, 1, 2)]
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[1], images[2])


def test_the_global_random_state_neither_matters_nor_moves(search):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = search()[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(search()[0], first)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_two_images_and_two_solutions_give_four_in_order(pack, search, generator, states, batch_size):
    faces, _ = pack.run("PULSESampleFace", stylegan=generator, seed=20, count=2)
    (targets,) = pack.run("BicubicDownsample", image=faces, factor=4)
    states.clear()
    result, downscaled, latent, report, residual = search(
        image=targets, solutions=2, seed=2**64 - 1, batch_size=batch_size
    )
    assert (len(result), len(downscaled), len(latent), len(residual)) == (4, 4, 4, 4)
    found = [(row["image"], row["seed"]) for row in report["images"]]
    assert sorted(found) == [(0, 0), (0, 2**64 - 1), (1, 0), (1, 2**64 - 1)]
    scores = [row["search_score"] for row in report["images"]]
    assert scores == [*sorted(scores[:2]), *sorted(scores[2:])], "of each image the best first"
    for row, (index, seed) in enumerate(found):
        alone = search(image=targets[index : index + 1], seed=seed)
        assert torch.allclose(result[row], alone[0][0], atol=1e-4)
        assert batch_size > 1 or torch.equal(result[row], alone[0][0]), "one at a time is bit for bit what it is alone"


def test_each_image_of_a_batch_may_have_its_own_seed(pack, search, generator):
    faces, _ = pack.run("PULSESampleFace", stylegan=generator, seed=20, count=2)
    (targets,) = pack.run("BicubicDownsample", image=faces, factor=4)
    for starts, expected in ((1, {(0, 5), (1, 6)}), (2, {(0, 5), (0, 6), (1, 7), (1, 8)})):
        report = search(image=targets, seed=5, seeds="one each", solutions=starts)[3]
        assert {(row["image"], row["seed"]) for row in report["images"]} == expected


def test_without_a_connected_fit_the_generators_own_is_used(search, pack, generator, gaussian, monkeypatch):
    monkeypatch.setattr(pack.submodule("nodes.pulse_search"), "gaussian_for", lambda *_, **__: gaussian)
    assert torch.equal(search(gaussian=None)[0], search()[0])


def test_a_connected_fit_is_the_one_that_is_used(search, gaussian):
    other = type(gaussian)(gaussian.mean.float() + 1, gaussian.std.float() + 0)  # as another node would make it
    assert other.mean.is_inference()
    assert other.std.is_inference()
    assert not torch.equal(search(gaussian=other)[0], search()[0])


def test_without_a_fit_one_is_made_and_cached(pack, generator, target, models):
    inputs = {"stylegan": generator, "image": target, "steps": 1, "preview_every": 0}
    result = pack.run("PULSESearch", **inputs)
    assert [path.name for path in (models.parent / "user" / "pulse" / "fits").glob("*.gaussian.safetensors")]
    assert [path.name for path in (models / "stylegan").iterdir()] == ["tiny.safetensors"]
    assert torch.equal(pack.run("PULSESearch", **inputs)[0], result[0])


def test_inputs_are_left_as_they_were(search, target, gaussian):
    kept = [tensor.clone() for tensor in (target, gaussian.mean, gaussian.std)]
    search()
    assert all(torch.equal(*pair) for pair in zip(kept, (target, gaussian.mean, gaussian.std), strict=True))


def test_an_unusable_loss_raises(search):
    with pytest.raises(ValueError, match=r"names the term 'L3'.*MSE, CAUCHY, L2, L1, GEOCROSS"):
        search(loss="100*L3")


# the host: interrupt, progress, previews, devices


def test_an_interrupt_stops_at_its_step_and_the_next_run_works(search, states, host):
    whole = search(steps=20)[0]
    states.clear()
    host.updates.clear()
    host.interrupt_at = 3
    with pytest.raises(host.management.InterruptProcessingException):
        search(steps=20)
    assert [step for step, _, _ in states] == [0, 1, 2, 3]
    assert [value for value, _, _ in host.updates] == [1, 2, 3]
    assert torch.equal(search(steps=20)[0], whole)


def test_an_interrupt_stops_sampling(pack, generator, host):
    host.interrupt_at = 2
    with pytest.raises(host.management.InterruptProcessingException):
        pack.run("PULSESampleFace", stylegan=generator, count=5)
    assert len(host.updates) == 2


def test_progress_ends_at_its_total_and_never_turns_back(search, host):
    search(steps=5, solutions=3, batch_size=2, eps=1.0)
    values = [value for value, _, _ in host.updates]
    assert {total for _, total, _ in host.updates} == {18}
    assert values == sorted(set(values))
    assert values[-1] == 18


def test_progress_counts_the_trials_of_candidates(pack, search, host):
    (settings,) = pack.run("PULSESearchSettings", candidates=2, trial_steps=2)
    search(steps=5, solutions=2, settings=settings)
    values = [value for value, _, _ in host.updates]
    assert {total for _, total, _ in host.updates} == {16}, "the five steps, the start, and two of another start; twice"
    assert values == list(range(1, 17))


def test_no_steps_return_the_initialisation(search, host):
    result, _, _, report, _ = search(steps=0)
    assert_is_image(result, 1, 32, 32, 3)
    assert report["images"][0]["steps"] == 0
    assert [(value, total) for value, total, _ in host.updates] == [(1, 1)]


@pytest.mark.parametrize(("every", "steps"), [(4, [0, 4, 8, 10]), (1, list(range(11))), (1000, [0, 10]), (0, [])])
def test_previews_come_every_so_many_steps(search, host, every, steps):
    search(steps=10, preview_every=every, eps=1.0)
    previews = {step: preview for step, (_, _, preview) in enumerate(host.updates) if preview is not None}
    assert list(previews) == steps
    for kind, picture, side in previews.values():
        assert (kind, side) == ("JPEG", 512)
        assert isinstance(picture, Image.Image)
        assert (picture.mode, picture.size) == ("RGB", (32, 32)), "the host saves it as JPEG, which has no alpha"


def test_the_last_preview_is_the_last_step(search, host):
    search(steps=3, preview_every=1, eps=1.0)
    pictures = [preview[1].tobytes() for _, _, preview in host.updates]
    assert len(set(pictures)) == 4


@pytest.mark.parametrize("how", ["moved", "rebuilt"])
def test_a_generator_that_another_node_moved_can_be_searched_again(search, generator, how):
    """Weights moved in inference mode become inference tensors, which no gradient can pass."""
    before = search()[0]
    if how == "moved":
        generator.to(torch.float64).to(torch.float32)
    else:
        for module in generator.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, torch.nn.Parameter(parameter.clone(), requires_grad=False))
            for name, buffer in list(module.named_buffers(recurse=False)):
                setattr(module, name, buffer.clone())
    assert all(tensor.is_inference() for tensor in (*generator.parameters(), *generator.buffers()))
    assert torch.equal(search()[0], before)
    assert not any(tensor.is_inference() for tensor in (*generator.parameters(), *generator.buffers()))


def test_each_use_of_the_generator_goes_through_the_hosts_memory_management(pack, search, generator, host):
    uses = (
        lambda: search(),
        lambda: pack.run("PULSESampleFace", stylegan=generator),
        lambda: pack.run("FitLatentGaussian", stylegan=generator, samples=10),
        lambda: search(),
    )
    for count, use in enumerate(uses, 1):
        use()
        assert len(host.loads) == count
    assert {id(patcher) for patchers, _, _ in host.loads for patcher in patchers} == {id(host.patchers[0])}
    assert host.patchers[0].model is generator
    assert all(keywords.keys() == {"force_full_load", "memory_required"} for _, keywords, _ in host.loads)
    searched, drawn, fitted, again = (keywords["memory_required"] for _, keywords, _ in host.loads)
    assert 0 < drawn == fitted < searched == again
    assert not any(inference for _, _, inference in host.loads), "weights moved in inference mode would need copying"


def test_results_go_where_the_host_wants_them(pack, search, generator, target, host):
    host.results_go_to = torch.device("meta")
    found, downscaled, latent, _, residual = search()
    image, ws = pack.run("PULSESampleFace", stylegan=generator)
    (small,) = pack.run("BicubicDownsample", image=target, factor=2)
    assert {tensor.device.type for tensor in (found, downscaled, residual, image, small)} == {"meta"}
    assert {tensor.device.type for tensor in (latent, ws)} == {"cpu"}  # where samplers compute

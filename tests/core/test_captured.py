"""Captured steps, with a tape in place of a CUDA graph: replayed steps equal eager ones bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pairwise import pairwise
from tape import Tape
from zoo import ZOO

from pulse_core.degradations import forward_operator
from pulse_core.degradations.per_image import PerImage
from pulse_core.degradations.text import parse_degradation
from pulse_core.latent_search import captured, evaluation, low_resolution
from pulse_core.latent_search.captured import Captured
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED
from pulse_core.latent_search.loop import search
from pulse_core.latent_search.run import Run
from pulse_core.latent_search.solution import Job
from pulse_core.latents.gaussian import fit_gaussian
from pulse_core.loading.load import generator_from

STEPS = 8
CONFIGS = {
    "recommended": replace(RECOMMENDED, steps=STEPS, full_every=3),
    "published": replace(PUBLISHED, steps=STEPS),
    "full evaluations": replace(RECOMMENDED, steps=STEPS, full_every=1, latent_space="staged", prior="shell"),
}


@pytest.fixture(autouse=True)
def _keep_low_resolution_steps(monkeypatch):
    """With random weights, details come from fine layers, and a search would give up low-resolution steps."""
    monkeypatch.setattr(low_resolution, "_MISSED", torch.inf)
    monkeypatch.setattr(low_resolution, "_WORTH", 2)


@pytest.fixture
def tapes(monkeypatch):
    """The tapes that a test records."""
    made = []

    def new():
        made.append(Tape())
        return made[-1]

    monkeypatch.setattr(evaluation, "recorders", lambda device: new)
    return made


def generator_of(name):
    example = ZOO[name]()
    generator = generator_from(example.tensors, example.metadata, name=name)
    return generator, fit_gaussian(generator, 300, class_index=1 if generator.c_dim else None)


def trajectory(generator, gaussian, config, images, degradation=None):
    """The variables, objectives and L2s after each step, and the best iterate."""
    height, width = (max(2, side // 8) for side in generator.size)
    random = torch.Generator().manual_seed(5)
    target = torch.rand(images, 3, height, width, generator=random)
    operator = forward_operator(degradation, (height, width), generator.size)
    run = Run(generator, target, gaussian, config, operator, tuple(Job(row, row) for row in range(images)))
    seen = []
    while not run.finished:
        found = run.evaluate(gradient=True)
        seen += [found.objective.clone(), found.l2.clone(), found.image.clone()]
        run.move()
        seen += [each.detach().clone() for each in run.optimizer.values]
    last = run.evaluate(gradient=False)
    return [*seen, last.objective, last.l2, run.best.image, run.best.ws, run.best.step]


@pytest.mark.parametrize(("name", "settings", "images"), pairwise({"name": ZOO, "settings": CONFIGS, "images": [1, 3]}))
def test_replayed_steps_equal_eager_ones_bit_for_bit(name, settings, images, monkeypatch, tapes):
    generator, gaussian = generator_of(name)
    replayed = trajectory(generator, gaussian, CONFIGS[settings], images)
    assert tapes
    assert all(tape.operations for tape in tapes)
    monkeypatch.setattr(evaluation, "recorders", lambda device: None)
    for one, other in zip(replayed, trajectory(generator, gaussian, CONFIGS[settings], images), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("text", ["blur(1)", "motion(3, 20)", "grey", "jpeg(30)", "noise(0.1)", "blur(1) + jpeg(50)"])
def test_steps_with_every_degradation_are_replayed(text, monkeypatch, tapes):
    generator, gaussian = generator_of("stylegan2 skip")
    replayed = trajectory(generator, gaussian, CONFIGS["recommended"], 2, parse_degradation(text))
    assert tapes
    monkeypatch.setattr(evaluation, "recorders", lambda device: None)
    plain = trajectory(generator, gaussian, CONFIGS["recommended"], 2, parse_degradation(text))
    assert all(torch.equal(*pair) for pair in zip(replayed, plain, strict=True))


def test_steps_with_an_operator_per_image_are_replayed(monkeypatch, tapes):
    generator, gaussian = generator_of("stylegan2 skip")
    texts = ("blur(1) + grey", "noise(0.1)", "jpeg(40) + salt_and_pepper(0.1)")
    operators = PerImage([parse_degradation(text) for text in texts])
    replayed = trajectory(generator, gaussian, CONFIGS["recommended"], 3, operators)
    assert tapes
    monkeypatch.setattr(evaluation, "recorders", lambda device: None)
    plain = trajectory(generator, gaussian, CONFIGS["recommended"], 3, operators)
    assert all(torch.equal(*pair) for pair in zip(replayed, plain, strict=True))


def test_captured_steps_are_reused_only_with_the_same_operators(tiny, tiny_fit, tapes, monkeypatch):
    targets = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    first, second = parse_degradation("grey"), parse_degradation("blur(1)")
    config = replace(CONFIGS["recommended"], batch_size=2)
    degradations = [first, second, first, second, second, first]
    found = search(tiny, targets, tiny_fit, config, degradation=degradations)
    monkeypatch.setattr(evaluation, "recorders", lambda device: None)
    plain = search(tiny, targets, tiny_fit, config, degradation=degradations)
    assert all(torch.equal(one.image, other.image) for one, other in zip(found, plain, strict=True))


def test_replay_repeats_the_python_numbers_of_the_capture():
    weight = [1.0]
    x = torch.ones(3)
    scaled = Captured(lambda: x * weight[0], x.device)
    results = []
    for step in range(4):
        weight[0] = float(step)
        results.append(scaled(Tape).clone())
    assert [float(result[0]) for result in results] == [0.0, 1.0, 1.0, 1.0]  # not 2.0 and 3.0


def test_the_next_batch_reuses_captured_steps(tiny, tiny_fit, tapes, monkeypatch):
    targets = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    found = search(tiny, targets, tiny_fit, CONFIGS["recommended"], seed=[4, 5, 6])
    made = len(tapes)
    alone = search(tiny, targets[:1], tiny_fit, CONFIGS["recommended"], seed=4)
    assert len(tapes) == 2 * made  # as many for three images as for one
    monkeypatch.setattr(evaluation, "recorders", lambda device: None)
    plain = search(tiny, targets, tiny_fit, CONFIGS["recommended"], seed=[4, 5, 6])
    for one, other in zip([*found, *alone], [*plain, plain[0]], strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.ws, other.ws)


def test_steps_that_cannot_be_captured_run_eagerly_and_are_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(captured, "_logged", set())
    x = torch.ones(3)
    step = Captured(lambda: torch.full((2,), float(x.sum())), x.device)
    results = [step(Tape) for _ in range(4)]
    assert all(torch.equal(result, torch.full((2,), 3.0)) for result in results)
    assert len(caplog.messages) == 1
    assert "cannot be captured on cpu" in caplog.messages[0]
    assert len([captured.Captured(lambda: torch.full((2,), float(x.sum())), x.device)(Tape) for _ in range(2)]) == 2
    assert len(caplog.messages) == 1


def test_gradient_checkpointing_is_not_captured(tiny, tiny_fit, tapes):
    search(tiny, torch.rand(3, 4, 4), tiny_fit, replace(CONFIGS["recommended"], gradient_checkpointing="always"))
    assert not tapes


def test_trials_are_not_captured_and_the_chosen_candidate_is(tiny, tiny_fit, tapes):
    search(tiny, torch.rand(3, 4, 4), tiny_fit, replace(CONFIGS["recommended"], candidates=4, trial_steps=3))
    assert 1 <= len(tapes) <= 4

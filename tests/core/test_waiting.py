"""How often the CPU waits for an accelerator in a search: never between full evaluations, and at most once at one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from accelerator import DEVICE, Waits, moved
from zoo import ZOO

from pulse_core.degradations import forward_operator
from pulse_core.degradations.text import parse_degradation
from pulse_core.latent_search import low_resolution
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED
from pulse_core.latent_search.run import Run
from pulse_core.latent_search.solution import Job
from pulse_core.latents.gaussian import fit_gaussian
from pulse_core.loading.load import generator_from

STEPS = 6  # full at 0 and 4
PRESETS = {"recommended": replace(RECOMMENDED, full_every=4), "published": PUBLISHED}


@pytest.fixture(autouse=True)
def _low_steps_to_the_end(monkeypatch):
    monkeypatch.setattr(low_resolution, "_MISSED", torch.inf)
    monkeypatch.setattr(low_resolution, "_WORTH", 2)


def waits_of(name, config, degradation=None):
    """(whether the step was full, what waited) of each step."""
    example = ZOO[name]()
    generator = generator_from(example.tensors, example.metadata, name=name)
    gaussian = fit_gaussian(generator, 300, class_index=1 if generator.c_dim else None)
    height, width = (max(2, side // 8) for side in generator.size)
    steps = []
    with Waits() as waits:
        target = torch.rand(2, 3, height, width).to(DEVICE)
        gaussian = gaussian.map_tensors(lambda tensor: tensor.to(DEVICE))
        operator = forward_operator(degradation, (height, width), generator.size)
        going = Run(moved(generator), target, gaussian, config, operator, (Job(0, 1), Job(1, 2)))
        for _ in range(STEPS):
            waits.found.clear()
            found = going.evaluate(gradient=True)
            going.move()
            steps.append((found.is_full, list(waits.found)))
    return steps[2:]  # the first of each kind brings matrices to the device


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ZOO)
def test_no_wait_between_full_evaluations_and_one_at_each(name, preset):
    steps = waits_of(name, PRESETS[preset])
    if "stylegan3" not in name and preset == "recommended":
        assert {full for full, _ in steps} == {True, False}
    for full, found in steps:
        assert len(found) <= (1 if full and preset == "recommended" else 0), found


@pytest.mark.parametrize("text", ["blur(1)", "motion(3, 20)", "grey", "jpeg(30)", "noise(0.1)", "salt_and_pepper(0.1)"])
def test_no_degradation_waits(text):
    for full, found in waits_of("stylegan2 skip", PRESETS["recommended"], parse_degradation(text)):
        assert len(found) <= (1 if full else 0), found


def test_waits_are_recorded():
    with Waits() as waits:
        x = torch.ones(3).to(DEVICE)
        x + x
        assert len(waits.found) == 1
        float(x.sum())
        x.nonzero()
        x.cpu()
        x.copy_(torch.zeros(3))
    assert len(waits.found) == 5

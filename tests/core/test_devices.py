"""On a device that is not the CPU: nothing of a step is left behind on the CPU, and no step waits for a number.

The device is torch's "meta", which every machine has: tensors of a shape, without numbers; to read one raises.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from zoo import ZOO

from pulse_core.degradations import parse_degradation, through
from pulse_core.gaussian import fit_gaussian
from pulse_core.latent_search.best import Best
from pulse_core.latent_search.config import PRESETS
from pulse_core.latent_search.run import Run
from pulse_core.latent_search.solution import Job
from pulse_core.loading import generator_from

MOVES = ("aten._to_copy.default", "aten.copy_.default")
JOBS = (Job(0, 1), Job(1, 2))


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, single numbers excepted: a card would, and meta does in part."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor) and each.ndim]
        if str(func) not in MOVES and len({each.device for each in tensors}) > 1:
            raise AssertionError(f"{func} of {[(each.device.type, tuple(each.shape)) for each in tensors]}")
        return func(*args, **(kwargs or {}))


def loaded(name):
    animal = ZOO[name]()
    generator = generator_from(animal.tensors, animal.facts, name=name)
    return generator, fit_gaussian(generator, 200, class_index=1 if generator.c_dim else None)


@pytest.fixture
def keeps_nothing(monkeypatch):
    """Which iterate is better is decided by numbers, at a full evaluation."""
    monkeypatch.setattr(Best, "offer", lambda *_: None)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ZOO)
@pytest.mark.usefixtures("keeps_nothing")
def test_steps_of_a_search(name, preset):
    generator, gaussian = loaded(name)
    axes = tuple(each.to("meta") for each in gaussian.axes)
    generator, gaussian = generator.to("meta"), gaussian.each(lambda tensor: tensor.to("meta"))
    gaussian.__dict__["axes"] = axes  # cached; worked out once for a search, on the CPU, where there is float64
    target = torch.empty(2, 3, generator.size[0] // 8, generator.size[1] // 8, device="meta")
    degradation = through(None, target.shape[-2:], generator.size)
    with OneDevice():
        run = Run(generator, target, gaussian, PRESETS[preset], degradation, JOBS)
        for _ in range(3):
            seen = run.evaluate(gradient=True)
            assert seen.l2.is_meta
            assert seen.shown.is_meta
            run.move(seen.objective)
    assert all(value.is_meta for value in run.optimizer.values)


@pytest.mark.parametrize(
    "text", ["bicubic(16, 16)", "motion(5, 30)+area(16, 16)+noise(0.1)", "lanczos(16, 16)+jpeg(40)", "blur(2)+grey"]
)
def test_degradations(text):
    degradation = parse_degradation(text)
    with OneDevice():
        assert degradation.measure(torch.empty(2, 3, 64, 64, device="meta")).is_meta


def test_two_devices_are_noticed():
    with OneDevice(), pytest.raises(AssertionError, match="conv"):
        torch.nn.functional.conv2d(torch.empty(1, 3, 8, 8, device="meta"), torch.empty(3, 3, 3, 3))

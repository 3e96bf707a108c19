"""The estimate of a step's memory, against measurements."""

from __future__ import annotations

import pytest
import torch
from zoo import ZOO

from bench.speed.shapes import build
from pulse_core.generators.working_memory import PeakMemory, _to_meta, render_memory, search_memory
from pulse_core.loading.load import generator_from

MB = 2**20

# (images, MB): the peak of torch's memory besides the weights, of two published steps on an H200 with torch 2.11
MEASURED = {"stylegan1-1024": ((1, 633), (4, 2334)), "stylegan2-1024": ((1, 1081), (4, 4307))}


@pytest.mark.parametrize("case", MEASURED)
def test_the_estimate_suffices_and_is_less_than_half_too_large(case):
    generator = build(case)
    for images, peak in MEASURED[case]:
        assert peak < search_memory(generator, images) / MB < 1.5 * peak
    assert render_memory(generator) < 0.6 * search_memory(generator, 1)


@pytest.mark.parametrize("name", ZOO)
def test_every_family_can_be_estimated_without_changing_it(name):
    example = ZOO[name]()
    generator = generator_from(example.tensors, example.metadata, name=name)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    one, three = search_memory(generator, 1), search_memory(generator, 3)
    assert 0 < render_memory(generator) < one < three < 4 * one
    after = generator.state_dict()
    assert all(torch.equal(after[key], value) and not after[key].is_meta for key, value in before.items())


def test_a_meta_copy_shares_no_memory(tiny):
    empty = _to_meta(tiny.synthesis)
    assert all(tensor.is_meta for tensor in (*empty.parameters(), *empty.buffers()))
    assert {len(list(network.parameters())) for network in (empty, tiny.synthesis)} == {len(list(empty.parameters()))}


def test_freed_memory_is_not_counted():
    with PeakMemory() as alive:
        for _ in range(3):
            first = torch.empty(1000, device="meta")
            second = first.view(10, 100) + 1
            del first, second
    assert (alive.current, alive.peak) == (0, 8000)

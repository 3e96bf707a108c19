"""Chains of unknown degradations, and their table."""

from __future__ import annotations

import torch

from bench.quality import old


def test_chains_are_deterministic_and_give_8_bits():
    truth = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    for number, chain in enumerate(old.CHAINS):
        one, other = chain(truth, number), chain(truth, number)
        assert torch.equal(one, other)
        sizes = [stage for stage in chain.stages if isinstance(stage, int)]
        assert one.shape == (3, sizes[-1], sizes[-1])
        assert torch.equal((one * 255).round() / 255, one)
    assert len({chain.stages for chain in old.CHAINS}) == 24


def test_means_ignore_missing_scores():
    metadata = {"identity": 0.5, "gap": None, "natural": None, "off": 0.01, "seconds": 2.0}
    text = old.report({"0|measured": metadata, "1|measured": {**metadata, "gap": 1.0, "natural": 0.5}})
    assert "| measured | 2 | 0.500 | 1.000 | 0.500 | 2.550 | 2.0 |" in text
    assert "published" not in text.split("| row |")[1]
    assert "identifies nobody" in text

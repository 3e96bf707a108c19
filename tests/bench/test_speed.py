"""The speed benchmark: the loops that it compares do the same work, and its tables."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_mobile_tensors

from bench.speed.__main__ import orders
from bench.speed.floor import CountWork
from bench.speed.one import MEASURES
from bench.speed.plain import PlainSearch, downscale_kernel, synthesis_of
from bench.speed.shapes import stylegan1_tensors, stylegan2_tensors
from bench.speed.table import write_results
from pulse_core.degradations import forward_operator
from pulse_core.degradations.bicubic import downsample
from pulse_core.generators import build_generator
from pulse_core.latent_search.config import PUBLISHED
from pulse_core.latent_search.run import Run
from pulse_core.latent_search.solution import Job
from pulse_core.latents.latent import Latent

TENSORS = {
    "stylegan1": lambda: stylegan1_tensors(128),
    "stylegan2": lambda: stylegan2_tensors(32),
    "mobilestylegan": tiny_mobile_tensors,
}


@pytest.mark.parametrize("family", TENSORS)
def test_the_plain_generator_matches_ours(family):
    tensors = TENSORS[family]()
    generator = build_generator(tensors, name=family)
    random = torch.Generator().manual_seed(0)
    ws = torch.randn(2, generator.num_ws, generator.w_dim, generator=random)
    noise = [torch.randn(2, 1, *shape, generator=random) for shape in generator.noise_shapes]
    ours, plain = generator.synthesis(ws, noise=noise), synthesis_of(tensors)(ws, noise)
    assert (ours - plain).abs().max() < 1e-3 * ours.abs().max()


def test_the_plain_search_matches_the_published_preset(tiny, tiny_fit):
    target = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    plain = PlainSearch(
        synthesis_of(tiny_mobile_tensors()), tiny_fit, tiny.num_ws, tiny.noise_shapes, target, steps=PUBLISHED.steps
    )
    noise = tuple(each.detach().clone() for each in plain.noise)
    start = Latent(tiny_fit.to_ws(plain.latent.detach()), noise, generator="tiny", generator_hash=tiny.content_hash)
    run = Run(
        tiny, target, tiny_fit, PUBLISHED, forward_operator(None, (8, 8), tiny.size), (Job(0, 0),), init_latent=start
    )
    for _ in range(20):
        seen = run.evaluate(gradient=True)
        theirs = plain.step()
        torch.testing.assert_close(
            float(seen.terms["L2"].mean()), float(theirs.clamp(min=PUBLISHED.eps).mean()), rtol=2e-2, atol=1e-5
        )
        run.move()


def test_the_plain_downscaling_matches_the_published_one():
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    kernel = downscale_kernel(8)
    assert float(kernel.sum()) == pytest.approx(1)
    search = PlainSearch.__new__(PlainSearch)
    search.target = torch.zeros(1, 3, 8, 8)
    torch.testing.assert_close(search._downscale(image), downsample(image, factor=8), atol=1e-5, rtol=0)


def test_work_is_counted_forward_and_backward():
    weight = torch.randn(6, 4, 3, 3)
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    with CountWork() as count:
        torch.nn.functional.conv2d(x, weight, padding=1).sum().backward()
    assert count.flops == 2 * (2 * 64 * 6 * 4 * 9)
    assert count.floor(1e9, 1e30) == pytest.approx(count.flops / 1e9)
    assert count.floor(1e30, 1e9) > 0


def test_orders_name_existing_measurements():
    for quick in (True, False):
        listed = orders(quick=quick, reference="somewhere")
        assert {order["measure"] for order in listed} <= MEASURES.keys()
        assert any(order.get("row") == "published" for order in listed)


def test_tables_omit_failed_measurements(tmp_path, capsys):
    step = {"measure": "step", "case": "ffhq-mobile", "batch": 1, "device": "cpu", "steps": 2}
    metadata = {"peak_mb": 1000.0, "floor": 0.1, "flops": 1e11, "stream": 1e10}
    way = [(1.0, 0.01), (2.0, 0.0009)]
    result = {"target": "one", "seconds": 4.0, "l2": 0.0009, "steps": 90, "distance": 1.0, "way": way}
    found = [
        {"order": step | {"row": "ours"}, "found": metadata | {"step": [0.5, 0.4, 0.4]}},
        {"order": step | {"row": "plain"}, "found": metadata | {"step": [2.0, 2.0], "peak_mb": 2000.0}},
        {"order": step | {"row": "ours", "without": "memory"}, "found": metadata | {"step": [0.8]}},
        {"order": {"measure": "solve", "row": "recommended", "device": "cpu"}, "found": [result]},
        {"order": {"measure": "capped", "case": "x", "gigabytes": 4.0}, "found": None},
    ]
    write_results(found, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    assert "| ffhq-mobile | 1 | cpu | 0.40 | 2.00 | - | 5.0 | - | 25% | 1000 | 2000 | - |" in text
    assert "| nothing | ffhq-mobile | 0.40 | 1000 | 1.00 | 1.00 | 5.00 | 0.50 |" in text
    assert "| `memory` | ffhq-mobile | 0.80 | 1000 | 2.00 | 1.00 | 2.50 | 0.50 |" in text
    assert "`layers` |" not in text
    assert (
        "| recommended | cpu | 1 | 1 of 1 | 1 of 1 | 4.0 | 2.0 (1) | 90 | 0.00090 | 1.00 | 50.0 (50.0 to 50.0) |"
        in text
    )
    assert "Little memory" not in text

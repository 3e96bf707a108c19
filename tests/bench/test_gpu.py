"""The GPU benchmark, as a dry run on the CPU with tiny generators, and the calculated lower bounds."""

from __future__ import annotations

import json
import warnings
from functools import partial

import pytest
import torch
from tiny import tiny_mobile_tensors
from zoo import tiny_stylegan1_tensors

from bench.gpu import parity, precision, roofline, searches, session, steps, waits
from bench.gpu.loops import Ours, counted
from bench.gpu.notebook import Notebook
from bench.gpu.plan import LAYOUTS, Case, Plan, plan_for
from bench.gpu.report import report
from bench.speed import sections
from bench.speed.floor import CountWork
from pulse_core.devices import optimizations
from pulse_core.devices.optimizations import OPTIMIZATIONS

CPU = torch.device("cpu")
TINY = Case("tiny", tiny_mobile_tensors)
FEW = {"target": 4, "steps": 1, "rounds": 1, "warm_up": 1, "searches": 2, "search_steps": 2, "matrix": 32, "copied": 64}


def small_plan(*cases: Case) -> Plan:
    return Plan(CPU, cases, (2,), families=("mobilestylegan",), **FEW)


@pytest.fixture
def parts(tiny, tiny_fit):
    targets = {name: torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)) for name in ("one", "two")}
    searched, compared = (
        partial(each.measure, load=lambda device: (tiny, tiny_fit, targets)) for each in (searches, precision)
    )
    return (searched, compared, waits.measure, parity.measure, steps.measure)


def test_the_dry_run_runs_and_writes_every_section(tmp_path, parts, capsys):
    plan = small_plan(TINY, Case("stylegan1-32", tiny_stylegan1_tensors))
    results = tmp_path / "RESULTS.md"
    results.write_text("# Main\n\nof make bench\n")
    notes = session.run(plan, tmp_path / "rows.json", results, parts)
    assert not [row for row in notes.rows if "failed" in row]
    kept = json.loads((tmp_path / "rows.json").read_text())
    assert kept["rows"] == notes.rows
    assert kept["machine"]["torch"] == torch.__version__
    rows = [row for row in notes.rows if row["part"] == "steps"]
    assert {row["row"] for row in rows} == {*LAYOUTS, "plain loop"}
    assert all(row["full_ms"] > 0 for row in rows)
    assert all(row["l2"] < 1e-4 for row in notes.rows if "l2" in row)
    text = results.read_text()
    assert text.startswith("# Main\n\nof make bench\n\n<!-- begin: on a gpu -->\n\n## On a GPU\n")
    for title in ("Steps on a GPU", "Searches", "16-bit features", "Waits", "Parity with float64"):
        assert f"### {title}\n" in text
    assert "A dry run on a CPU" in text
    assert "| stylegan1-32 | 2 | plain loop, TF32 |" in text
    assert "Not measured" not in text


def test_a_failed_measurement_is_a_row_and_the_others_continue(tmp_path, parts):
    def broken():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate | much")

    notes = session.run(small_plan(Case("large", broken), TINY), None, None, parts[-1:])
    assert all(row["failed"].startswith("OutOfMemoryError") for row in notes.rows if row.get("case") == "large")
    assert all("failed" not in row for row in notes.rows if row.get("case") == "tiny")
    assert "| steps | large, 2, everything on, False | OutOfMemoryError: CUDA out of" in report(
        notes.metadata, notes.rows
    )


def test_an_interrupt_is_not_a_failed_measurement():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Notebook(CPU, None, 1).measure("part", {}, stop)


def test_no_measurement_starts_after_the_time_limit():
    row = Notebook(CPU, None, 0).measure("part", {"what": 1}, lambda: pytest.fail("begun"))
    assert row == {"part": "part", "what": 1, "failed": "out of time"}


def test_rows_name_optimizations_that_failed_their_check(monkeypatch):
    monkeypatch.setattr(optimizations, "_disabled", {"cpu": {"graphs"}})
    assert Notebook(CPU, None, 1).measure("part", {}, dict)["not used"] == ["graphs"]


def test_waits_are_reported_by_line_of_this_project():
    with waits.recorded_waits() as places:
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    ((place, times),) = places.items()
    assert place.startswith("tests/bench/test_gpu.py:")
    assert times == 1


def test_rows_of_steps_disable_existing_optimizations():
    assert {each for left_out in LAYOUTS.values() for each in left_out} <= set(OPTIMIZATIONS)
    assert [len(plan_for(CPU, quick=quick, reference=None, minutes=1).cases) for quick in (True, False)] == [1, 3]


def test_writing_a_section_keeps_the_others(tmp_path):
    path = tmp_path / "RESULTS.md"
    sections.write(path, sections={sections.CALCULATED: "sums"})
    sections.write(path, main="# Main\n")
    sections.write(path, sections={sections.GPU: "times\n"})
    sections.write(path, main="# New\n")
    text = path.read_text()
    assert sections.main_part(text) == "# New"
    assert [sections.section(text, name) for name in sections.ORDER] == ["times", "sums"]
    sections.write(path)
    assert path.read_text() == text


def test_work_and_lower_bound_of_a_known_layer():
    weight, x = torch.randn(6, 4, 3, 3), torch.randn(1, 4, 8, 8)
    with CountWork() as work:
        y = torch.nn.functional.conv2d(x, weight, padding=1)
        torch.nn.functional.leaky_relu_(y.view(1, 6, 64), 0.2)
        torch.empty(1000)
    moved = [4 * (4 * 64 + 6 * 4 * 9 + 6 * 64), 4 * 2 * 6 * 64]
    assert [op.moved for op in work.ops] == moved
    assert work.moved == sum(moved)
    assert len(work.products) == 1
    assert work.flops == 2 * 64 * 6 * 4 * 9
    slow = roofline.Gpu("bound by its memory", 1e12, 2e12, 1e6)
    assert roofline.best(work, slow) == pytest.approx(
        (sum(moved) / 1e6, sum(moved) / 1e6, moved[0] / 1e6, moved[0] / 2e6)
    )
    weak = roofline.Gpu("bound by its arithmetic", 1e6, 4e6, 1e12)
    arithmetic = work.flops / 1e6
    assert roofline.best(work, weak) == pytest.approx(
        (arithmetic + roofline.GRAPH, arithmetic + roofline.GRAPH, arithmetic, arithmetic / 4)
    )
    fast = roofline.Gpu("bound by launches", 1e18, 1e18, 1e18)
    assert roofline.best(work, fast) == pytest.approx(
        (2 * roofline.EAGER, 2 * roofline.GRAPH, roofline.GRAPH, roofline.GRAPH)
    )


def test_no_gradient_work_is_counted_for_a_constant_input():
    weight, x = torch.randn(6, 4, 3, 3), torch.randn(1, 4, 8, 8, requires_grad=True)
    y = torch.nn.functional.conv2d(x, weight, padding=1)
    with CountWork() as work:
        torch.autograd.grad(y, x, torch.ones_like(y))
    (op,) = work.products
    assert op.moved == 4 * (6 * 64 + 6 * 4 * 9 + 4 * 64)


def test_low_resolution_steps_are_counted_at_both_sizes(tiny):
    counts = counted(Ours(tiny, 1, 4, CPU))
    assert [*counts] == ["full", "low", "low twice"]
    assert counts["low"].flops < counts["low twice"].flops < counts["full"].flops
    text = roofline.report({"tiny": counts})
    assert "Calculated, not measured" in text
    assert "| tiny | low, second half | " in text

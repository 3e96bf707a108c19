"""One measurement in a process of its own, which isolates its memory: `python -m bench.speed.one JSON`.

JSON names one of MEASURES and its arguments. The last line of output is the result, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

BEGUN = time.perf_counter()

import torch  # noqa: E402 - importing it is part of what is measured
from torch import Tensor  # noqa: E402

from bench.memory import peak_mb, reset_peak  # noqa: E402
from bench.quality.targets import degraded_and_clean, faces  # noqa: E402
from pulse_core.cli.memory import keep_freed_memory  # noqa: E402
from pulse_core.degradations import forward_operator  # noqa: E402
from pulse_core.generators import Generator  # noqa: E402
from pulse_core.latent_search.config import PUBLISHED, RECOMMENDED  # noqa: E402
from pulse_core.latent_search.loop import search  # noqa: E402
from pulse_core.latent_search.run import Run  # noqa: E402
from pulse_core.latent_search.solution import Job, StepState  # noqa: E402
from pulse_core.latents.gaussian import LatentGaussian, fit_gaussian  # noqa: E402
from pulse_core.pipeline import load_with_fit  # noqa: E402

from .floor import CountWork, peaks, seconds, synchronise  # noqa: E402
from .plain import PlainSearch, synthesis_of  # noqa: E402
from .published import PublishedSearch  # noqa: E402
from .shapes import build, tensors_of  # noqa: E402

W_DIM, LR = 512, 32
WARM_UP = 2  # steps before the first timed one; 1 for a batch
FLAT = LatentGaussian(torch.zeros(W_DIM), torch.ones(W_DIM))  # for random weights
CHANGES: dict[str, dict[str, Any]] = {  # to the recommended settings, one at a time
    "recommended": {},
    "full evaluations alone": {"full_every": 1},
    "without the encoder": {"init": "random"},
}


def step(row: str, case: str, batch: int, device: str, steps: int, reference: str = "") -> dict[str, Any]:
    """Steps of the published algorithm: seconds per step, peak memory, loading, and the lower bound."""
    where = torch.device(device)
    if row == "ours":
        keep_freed_memory()  # as the command line does
    target = torch.rand(batch, 3, LR, LR, generator=torch.Generator().manual_seed(1)).to(where)
    begun = time.perf_counter()
    work = _prepared(row, case, target, reference)
    synchronise(where)
    metadata: dict[str, Any] = {"load": time.perf_counter() - begun, "start": begun - BEGUN}
    for _ in range(WARM_UP if batch == 1 else 1):
        work()
    reset_peak(where)
    metadata["step"] = [seconds(work, where) for _ in range(steps)]
    metadata["peak_mb"] = peak_mb(where)
    with CountWork() as count:
        work()
    flops, stream = peaks(where)
    return metadata | {"flop": count.flops, "floor": count.floor(flops, stream), "flops": flops, "stream": stream}


def _prepared(row: str, case: str, target: Tensor, reference: str) -> Callable[[], Any]:
    if row == "ours":
        return _ours(build(case, target.device), target)
    tensors = {name: each.to(target.device) for name, each in tensors_of(case).items()}
    if row == "published":
        return PublishedSearch(Path(reference), tensors, FLAT, target).step
    contract = build(case)
    shapes, num_ws = contract.noise_shapes, contract.num_ws
    del contract
    return PlainSearch(synthesis_of(tensors), FLAT, num_ws, shapes, target).step


def _ours(generator: Generator, target: Tensor) -> Callable[[], None]:
    degradation = forward_operator(None, (target.shape[-2], target.shape[-1]), generator.size)
    jobs = tuple(Job(row, row) for row in range(len(target)))
    gaussian = FLAT.map_tensors(lambda tensor: tensor.to(target))
    run = Run(generator, target, gaussian, PUBLISHED, degradation, jobs)

    def one_step() -> None:
        run.evaluate(gradient=True)
        run.move()

    return one_step


def fit(row: str, samples: int, device: str) -> dict[str, Any]:
    """The Gaussian fit of the default generator: seconds, memory besides the weights, and the lower bound."""
    keep_freed_memory()
    where = torch.device(device)
    generator, _ = load_with_fit("ffhq-mobile", device=where)
    fit_gaussian(generator, 5000)  # warm
    before = _resident_mb(where)
    reset_peak(where)
    taken = seconds(
        lambda: _fit_at_once(generator, samples) if row == "plain" else fit_gaussian(generator, samples), where
    )
    peak = peak_mb(where)
    flops, _ = peaks(where)
    layers = sum(weight.numel() for weight in generator.mapping.parameters() if weight.ndim == 2)
    work = 2.0 * samples * (layers + (generator.w_dim**2 if row == "ours" else 0))  # ours fits the covariance too
    return {"fit": taken, "beyond_mb": None if peak is None else peak - before, "floor": work / flops}


def _fit_at_once(generator: Generator, samples: int) -> Any:
    """As published: all samples in one batch, mean and standard deviation."""
    with torch.no_grad():
        z = torch.randn(samples, generator.z_dim).to(next(generator.parameters()))
        v = torch.nn.functional.leaky_relu(generator.mapping.map_to_w(z, None), 5)
        return v.mean(0), v.std(0)


def _resident_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    reset_peak(device)
    return peak_mb(device) or 0.0


def solve(row: str, device: str, targets: int) -> list[dict[str, Any]]:
    """Searches for photographs and generated faces: seconds, steps, and the best L2 over time."""
    keep_freed_memory()
    generator, gaussian = load_with_fit("ffhq-mobile", device=device)
    config = PUBLISHED if row == "published" else replace(RECOMMENDED, **CHANGES[row])
    results = []
    for target in list(faces(generator, 2))[:targets]:
        given, _ = degraded_and_clean(target, "clean", LR)
        way: list[tuple[float, float]] = []
        begun = time.perf_counter()

        def remember(state: StepState) -> None:
            way.append((time.perf_counter() - begun, float(state.best_l2)))  # noqa: B023 - called at once

        (found,) = search(generator, given, gaussian, config, on_step=remember)
        metadata = {
            "target": target.name,
            "seconds": time.perf_counter() - begun,
            "l2": found.search_l2,
            "steps": found.steps,
        }
        results.append(metadata | {"distance": found.distance, "way": way})
    return results


def capped(case: str, gigabytes: float) -> dict[str, Any]:
    """A search of one step under a memory limit, and whether it used gradient checkpointing (Linux)."""
    import resource  # missing on some systems

    generator = build(case)
    target = torch.rand(1, 3, LR, LR)
    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)
    config = replace(RECOMMENDED, steps=1, full_every=1)
    tried = []
    begun = time.perf_counter()
    keeps = generator.synthesis.gradient_checkpointing

    def watched(on: bool) -> Any:
        tried.append(on)
        return keeps(on)

    generator.synthesis.gradient_checkpointing = watched
    search(generator, target, FLAT, config)
    taken = time.perf_counter() - begun
    return {"seconds": taken, "recomputed": tried[-1], "peak_mb": peak_mb(torch.device("cpu"))}


def start() -> dict[str, Any]:
    """Loads the default generator."""
    begun = time.perf_counter()
    load_with_fit("ffhq-mobile", device="cpu")
    return {"import": begun - BEGUN, "load": time.perf_counter() - begun}


MEASURES = {each.__name__: each for each in (step, fit, solve, capped, start)}

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(MEASURES[order.pop("measure")](**order)))

"""One measurement in a process of its own, so that its memory is its alone: `python -m bench.speed.one JSON`.

What it measured is the last line that it prints, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEGUN = time.perf_counter()

import torch  # noqa: E402 - importing it is part of what is measured
from torch import Tensor  # noqa: E402

from bench.memory import forget_peak, peak_mb  # noqa: E402
from pulse_core.degradations import through  # noqa: E402
from pulse_core.gaussian import LatentGaussian  # noqa: E402
from pulse_core.generators import Generator  # noqa: E402
from pulse_core.latent_search.config import PUBLISHED  # noqa: E402
from pulse_core.latent_search.run import Run  # noqa: E402
from pulse_core.latent_search.solution import Job  # noqa: E402
from pulse_core.memory import keep_freed_memory  # noqa: E402

from .floor import CountWork, peaks, seconds, synchronise  # noqa: E402
from .plain import PlainSearch, synthesis_of  # noqa: E402
from .published import PublishedSearch  # noqa: E402
from .shapes import build, tensors_of  # noqa: E402

W_DIM = 512
WARM_UP = 2  # steps before the first that counts


def measure(row: str, case: str, batch: int, device: str, steps: int, lr: int = 32, reference: str = "") -> Any:
    """step: seconds of each; peak_mb: of the process, or of the device's memory; load: seconds."""
    where = torch.device(device)
    if row == "ours":
        keep_freed_memory()  # as the command line does
    target = torch.rand(batch, 3, lr, lr, generator=torch.Generator().manual_seed(1)).to(where)
    gaussian = LatentGaussian(torch.zeros(W_DIM), torch.ones(W_DIM))
    begun = time.perf_counter()
    step = prepare(row, case, target, gaussian, reference)
    synchronise(where)
    facts: dict[str, Any] = {"load": time.perf_counter() - begun, "start": begun - BEGUN}
    for _ in range(WARM_UP):
        step()
    forget_peak(where)
    facts["step"] = [seconds(step, where) for _ in range(steps)]
    facts["peak_mb"] = peak_mb(where)
    with CountWork() as work:
        step()
    flops, stream = peaks(where)
    return facts | {"flop": work.flops, "floor": work.floor(flops, stream), "flops": flops, "stream": stream}


def prepare(row: str, case: str, target: Tensor, gaussian: LatentGaussian, reference: str) -> Callable[[], Any]:
    """What takes one step of the published algorithm."""
    if row == "ours":
        return ours(build(case, target.device), target, gaussian)
    tensors = {name: each.to(target.device) for name, each in tensors_of(case).items()}
    if row == "published":
        return PublishedSearch(Path(reference), tensors, gaussian, target).step
    contract = build(case)
    shapes, num_ws = contract.noise_shapes, contract.num_ws
    del contract
    return PlainSearch(synthesis_of(tensors), gaussian, num_ws, shapes, target).step


def ours(generator: Generator, target: Tensor, gaussian: LatentGaussian) -> Callable[[], None]:
    """The pack's own search in parity mode."""
    degradation = through(None, (target.shape[-2], target.shape[-1]), generator.size)
    jobs = tuple(Job(row, row) for row in range(len(target)))
    run = Run(generator, target, gaussian.each(lambda tensor: tensor.to(target)), PUBLISHED, degradation, jobs)

    def step() -> None:
        run.move(run.evaluate(gradient=True).objective)

    return step


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))

"""Loads files under a limit on memory: in this process, or in one of its own that is ended when it takes too long.

python tests/confined.py  <  paths, one a line  >  what became of each, one JSON line a path
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEMORY = 1 << 30  # bytes that loading one small file may take
SECONDS = 300  # for a whole group of files; far more than any machine needs, and far less than a bomb would take


@contextmanager
def little_memory(more: int = MEMORY) -> Iterator[None]:
    """Lets this process take so much more address space, and no more than that."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def clear(error: BaseException) -> bool:
    """Whether this is the one error that a file may give: three parts, each short enough to be read."""
    parts = [getattr(error, part, "") for part in ("found", "accepted", "remedy")]
    return type(error).__name__ == "CheckpointError" and all(3 < len(part) < 1000 for part in parts)


def outcomes(paths: Sequence[Path]) -> list[str]:
    """What loading each file gave: "loaded", or the error's text.

    Raises:
        AssertionError: one took all the memory or time there was, or gave an error of another kind.
    """
    command = [sys.executable, str(Path(__file__)), *map(str, (ROOT, ROOT / "tests"))]
    try:
        done = subprocess.run(
            command, input="\n".join(map(str, paths)), capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").splitlines()
        raise AssertionError(f"no end of {paths[len(lines)].name} after {SECONDS} s") from error
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{paths[len(lines)].name}:\n{done.stderr[-3000:]}"
    return [json.loads(line) for line in lines]


def main() -> None:
    sys.path[:0] = sys.argv[1:]
    import torch

    from pulse_core.errors import CheckpointError
    from pulse_core.loading.load import load_generator

    torch.set_num_threads(1)
    for line in sys.stdin.read().splitlines():
        with little_memory():
            try:
                load_generator(line)
                outcome = "loaded"
            except CheckpointError as error:
                if not clear(error):
                    raise
                outcome = str(error)
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()

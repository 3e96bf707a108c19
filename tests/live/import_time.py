"""How long the host takes to start with the pack and without, and what it says of the pack's import.

COMFYUI_PATH=/path/to/ComfyUI python tests/live/import_time.py [how many times each]
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (1, 2)]

from live_host import command, environment, folders, host_folder

LINE = re.compile(r"([0-9.]+) seconds(.*): .*ComfyUI-PULSE")


def start(base: Path) -> tuple[float, str]:
    """Starts the host up to where it would serve -> seconds, and its log."""
    variables = environment(base)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling is no part of what a user waits for
    begun = time.perf_counter()
    done = subprocess.run(
        command(base, "--quick-test-for-ci"),
        cwd=host_folder(),
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        encoding="utf-8",
        errors="replace",
    )
    return time.perf_counter() - begun, done.stdout


def said(log: str) -> float:
    """The seconds that the host gives for the pack's import, in tenths."""
    line = LINE.search(log)
    if line is None or line[2]:
        raise RuntimeError(f"the pack was not imported:\n{log[-4000:]}")
    return float(line[1])


def main(times: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bases = {"with the pack": Path(folder) / "with", "without": Path(folder) / "without"}
        for name, base in bases.items():
            base.mkdir()
            folders(base, pack=name != "without")
            start(base)  # compiles what was not compiled
        seconds: dict[str, list[float]] = {name: [] for name in bases}
        imports = []
        for _ in range(times):
            for name, base in bases.items():
                took, log = start(base)
                seconds[name].append(took)
                if name != "without":
                    imports.append(said(log))
    for name, each in seconds.items():
        print(f"{name}: median {statistics.median(each):.2f} s of {' '.join(f'{one:.2f}' for one in sorted(each))}")
    print(f"the pack's import, as the host says: {' '.join(f'{one:.1f}' for one in imports)} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

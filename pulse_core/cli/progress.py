"""Progress bars of the command line, and the time that each result took."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from ..latent_search.solution import StepState


class StepBar:
    """A progress bar over the steps for one input, with the current L2. It is an `on_step` callback."""

    def __init__(self, title: str, *, quiet: bool = False):
        self._bar = tqdm(total=0, desc=title, unit="step", file=sys.stderr, dynamic_ncols=True, disable=quiet)
        self._quiet = quiet

    def __enter__(self) -> StepBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, state: StepState) -> None:
        if self._quiet:
            return
        self._bar.n, self._bar.total = state.progress
        if state.is_full:
            loss, l2, best = state.means
            self._bar.set_postfix_str(f"loss {loss:.3f}, L2 {l2:.4f}, best {best:.4f}", refresh=False)
        self._bar.update(0)


class FaceBar:
    """A progress bar over faces; the total grows as photographs are opened."""

    def __init__(self, photographs: int, *, quiet: bool = False):
        self._photographs, self._opened, self._quiet = photographs, 0, quiet
        self._done = self._left = 0  # faces: finished before this search, and left in this photograph
        form = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} faces [{elapsed}{postfix}]"
        self._bar = tqdm(total=0, file=sys.stderr, dynamic_ncols=True, bar_format=form, disable=quiet)

    def __enter__(self) -> FaceBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, text: str, file: Any = None) -> None:
        """Prints a line above the bar."""
        if not self._quiet:
            tqdm.write(text, file=file or sys.stdout)

    def open(self, name: str, faces: int) -> None:
        """Starts a photograph with this many faces."""
        self._opened += 1
        self._done, self._left = self._done + self._left, faces
        self._bar.total += faces
        self._bar.set_description_str(f"{name} ({self._opened} of {self._photographs})")

    def skip(self) -> None:
        """A face of this photograph needs no search."""
        self._done, self._left = self._done + 1, self._left - 1
        self._bar.n = self._done
        self._bar.refresh()

    def step(self, state: StepState) -> None:
        """An `on_step` callback for the search of all faces that are left in this photograph."""
        made, total = state.progress
        self._bar.n = self._done + self._left * made / total
        if state.is_full:
            _, l2, best = state.means
            self._bar.set_postfix_str(f"L2 {l2:.4f}, best {best:.4f}", refresh=False)
        self._bar.update(0)


class Stopwatch:
    """Seconds for each result; results of one batch share its time.

    Args:
        solutions: searched for each result.
    """

    def __init__(self, solutions: int = 1):
        self._solutions, self._since = solutions, time.perf_counter()
        self._batch, self._left, self._share = 1, 0, 0.0

    def restart(self) -> None:
        """The next search begins now."""
        self._since = time.perf_counter()

    def step(self, state: StepState) -> None:
        """An `on_step` callback: sees how many are searched together."""
        self._batch = max(1, len(state.jobs) // self._solutions)

    def lap(self) -> float:
        """The seconds of one more result."""
        if not self._left:
            now = time.perf_counter()
            self._share, self._since, self._left = (now - self._since) / self._batch, now, self._batch
        self._left -= 1
        return self._share

"""Learning-rate schedules: (step, steps) -> a factor on the learning rate, step from 0.

To add one: one function and one entry in SCHEDULES.
"""

from __future__ import annotations

from collections.abc import Callable

WARM = 0.1  # the factor at both ends of a cycle
DROP = 1 / 1000  # the factor at the end of the drop
RUN = 0.9  # the share of the steps before the drop
HOLD, REST = 0.6, 0.05  # the share of the steps before the fall, and the factor at its end


def fixed(step: int, steps: int) -> float:
    """1 throughout."""
    return 1.0


def linear1cycle(step: int, steps: int) -> float:
    """From 0.1 up to 1 in the middle and back."""
    return _cycle(step / steps)


def linear1cycledrop(step: int, steps: int) -> float:
    """The cycle in the first nine tenths of the steps, then down from 0.1 towards 1/1000."""
    run = RUN * steps
    if step < run:
        return _cycle(step / run)
    return WARM + (step - run) / ((1 - RUN) * steps) * (DROP - WARM)


def _cycle(position: float) -> float:
    return WARM + (1 - WARM) * (1 - 2 * abs(position - 0.5))


def hold_then_fall(step: int, steps: int) -> float:
    """1 for the first six tenths of the steps, then down to 1/20."""
    late = max(0.0, step / steps - HOLD) / (1 - HOLD)
    return 1 + late * (REST - 1)


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    f.__name__: f for f in (hold_then_fall, linear1cycledrop, linear1cycle, fixed)
}

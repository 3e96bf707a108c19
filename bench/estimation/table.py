"""The accuracy of `estimate_degradation` on degraded portraits, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from pulse_core.faces.estimation import SIZES, DegradationEstimate, estimate_degradation

from .cases import Case, degrade
from .training import portraits

FIRST_SEED = 5_000_000  # the training's seeds are smaller
KINDS = ("clean", "blur", "enlarged", "noise", "jpeg", "grey", "twice", "aligned")
RELATIVE, ABSOLUTE = 0.25, 0.004  # tolerances of the noise


@dataclass(frozen=True)
class Evaluated:
    """The name of a portrait, its degraded case, and the estimate."""

    name: str
    case: Case
    estimate: DegradationEstimate

    @property
    def steps(self) -> int:
        """The error of the size in steps of SIZES; positive if too large."""
        return SIZES.index(self.estimate.size) - SIZES.index(self.case.size)

    @property
    def noise_is_right(self) -> bool:
        true = self.case.noise[0]
        return abs(self.estimate.noise - true) <= max(RELATIVE * true, ABSOLUTE)

    def noise_at_size_is_right(self) -> bool:
        """Whether the noise at the estimated size is right."""
        size, side = self.estimate.size, self.estimate.side
        true = DegradationEstimate(size, 0, self.case.noise[0], None, False, 1, side, self.case.noise).noise_at(size)
        return abs(self.estimate.noise_at(size) - true) <= max(RELATIVE * true, ABSOLUTE)


def evaluated(count: int, *, held_out: bool | None = None, first: int = FIRST_SEED) -> Iterator[Evaluated]:
    """Cases of the sixteen portraits in turn; of only the held-out ones, or only the others, if held_out is given."""
    chosen = [(True, False)] if held_out is None else [(held_out,)]
    clean = {name: face for which in chosen[0] for name, face in portraits(held_out=which).items()}
    names = sorted(clean)
    for number in range(count):
        name = names[number % len(names)]
        case = degrade(clean[name], first + number)
        yield Evaluated(name, case, estimate_degradation(case.picture))


def _share(flags: list[bool]) -> str:
    return f"{100 * sum(flags) / len(flags):.0f} %" if flags else "-"


def row(name: str, found: list[Evaluated]) -> str:
    relative = [abs(each.estimate.noise / each.case.noise[0] - 1) for each in found if each.case.noise[0] > 0.008]
    blurred = [abs(each.estimate.blur / each.case.blur - 1) for each in found if each.case.blur > 0.7]
    blocks = [each for each in found if each.case.jpeg is not None]
    cells = [
        name,
        str(len(found)),
        _share([each.steps == 0 for each in found]),
        _share([abs(each.steps) <= 1 for each in found]),
        _share([each.noise_is_right for each in found]),
        f"{100 * float(torch.tensor(relative).median()):.0f} %" if relative else "-",
        _share([each.noise_at_size_is_right() for each in found]),
        f"{100 * float(torch.tensor(blurred).median()):.0f} %" if blurred else "-",
        _share(
            [each.estimate.jpeg is not None and abs(each.estimate.jpeg - (each.case.jpeg or 0)) <= 6 for each in blocks]
        ),
        _share([each.estimate.is_grey == each.case.grey for each in found]),
        f"{sum(each.estimate.confidence for each in found) / len(found):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| kind | cases | size exact | within a step | noise within 25 % or 0.004 | its median error above 0.008 "
    "| noise at the size found | blur's median error above 0.7 px | JPEG found, quality within 6 | grey | confidence |"
)


def table(found: list[Evaluated]) -> str:
    """Markdown: a row for each kind (a case may be of several), and for training and held-out portraits."""
    lines = [HEAD, "| --- |" + " ---: |" * 10]
    lines += [row(kind, chosen) for kind in KINDS if (chosen := [each for each in found if kind in each.case.kinds])]
    for name, held_out in (("p01 to p12", False), ("p13 to p16, held out", True)):
        chosen = [each for each in found if (each.name >= "p13") == held_out]
        lines += [row(name, chosen)] if chosen else []
    return "\n".join([*lines, row("**all**", found)])

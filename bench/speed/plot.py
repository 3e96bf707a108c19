"""The plot of bench/RESULTS.md: cost against batch size and resolution, and the error against time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .table import chosen, step_time

_COLOURS = {"ours": "tab:blue", "plain": "tab:orange", "published": "tab:red", "recommended": "tab:blue"}


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Writes the plot."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (batches, sizes, ways) = pyplot.subplots(1, 3, figsize=(13, 4), constrained_layout=True)
    _lines(batches, found, "ffhq-mobile", "a step of ffhq-mobile")
    batches.set(xlabel="images at a time", ylabel="seconds an image")
    points = []
    for size in (128, 256, 512, 1024):
        time = step_time(_matching(found, case=f"stylegan2-{size}", batch=1, row="ours", device="cpu"))
        points += [(size, time)] if time else []
    sizes.plot(*zip(*points, strict=True), "o-", color=_COLOURS["ours"])
    sizes.set(title="a step of StyleGAN2", xlabel="pixels a side", ylabel="seconds", xscale="log", ylim=(0, None))
    sizes.set_xticks([size for size, _ in points], [str(size) for size, _ in points])
    sizes.minorticks_off()
    for row in ("published", "recommended"):
        for each in chosen(found, "solve", row=row, device="cpu"):
            for number, result in enumerate(each["found"]):
                times, errors = zip(*result["way"], strict=True)
                ways.plot(times, errors, color=_COLOURS[row], label=None if number else f"preset {row}")
    ways.axhline(1e-3, color="grey", linewidth=0.8, linestyle="--")
    ways.set(title="four searches, best so far", xlabel="seconds", ylabel="L2", yscale="log")
    for axes in (batches, ways):
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _matching(found: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [each for each in chosen(found, "step", **wanted) if "without" not in each["order"]]


def _lines(axes: Any, found: list[dict[str, Any]], case: str, title: str) -> None:
    for row in ("ours", "plain"):
        points = []
        for batch in (1, 2, 4, 8):
            time = step_time(_matching(found, case=case, batch=batch, row=row, device="cpu"))
            points += [(batch, time / batch)] if time else []
        axes.plot(*zip(*points, strict=True), "o-", color=_COLOURS[row], label=row)
    axes.set(title=title, ylim=(0, None))

"""Mean score against the number of labels, over the tasks that every regime has, and the best at each number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes

from results.figures.style import TITLES, Drawn, NothingToDrawError, floor_line, line_style, name_points, named
from results.measures import most
from results.stats import Estimate, over_tasks
from results.table import Table

SEVERAL = True
APART = 0.22  # of the distance between two sizes, over which the intervals of one are spread
Point = tuple[int, Estimate]  # labels, mean


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    sizes = {k: t for t in reversed(boards) if (k := t.labels) is not None}  # of two regimes of a size, the first
    by_labels = sorted(sizes.items())
    if len(by_labels) < 2:
        raise NothingToDrawError("it needs regimes of two sizes")
    tasks = [task for task in by_labels[0][1].tasks if all(task in t.tasks for _, t in by_labels)]
    names = [
        c for c in by_labels[-1][1].contenders if all(_mean(t, c, tasks, metric) is not None for _, t in by_labels)
    ]
    if not names or not tasks:
        raise NothingToDrawError("no contender has the same tasks in each regime")
    found = {c: [(k, e) for k, t in by_labels if (e := _mean(t, c, tasks, metric)) is not None] for c in names}
    best = [max(names, key=lambda c: found[c][i][1].value) for i in range(len(by_labels))]
    figure, axis = named(width, len(names))
    for i, line in enumerate(found.values()):
        _line(axis, line, i, len(names))
    axis.set_xscale("log")
    axis.set_xticks([k for k, _ in by_labels], [str(k) for k, _ in by_labels])
    axis.minorticks_off()
    axis.margins(y=0.1)  # room for the names of the best
    _frontier(axis, best, [found[c][i] for i, c in enumerate(best)])
    axis.set_xlabel("labels in all (training and choosing)")
    axis.set_ylabel(f"mean {TITLES[metric]} (95 % interval)")
    floor_line(axis, metric)
    name_points(
        axis, [(c, line[-1][0], line[-1][1].value, line_style(i)["color"]) for i, (c, line) in enumerate(found.items())]
    )
    rows = [
        {"contender": c, "labels": k, metric: e.value, "low": e.low, "high": e.high, "tasks": len(tasks),
         "best": best[i] == c}
        for c, line in found.items() for i, (k, e) in enumerate(line)
    ]  # fmt: skip
    caption = (
        f"Mean {TITLES[metric]} over the {len(tasks)} tasks that each regime has, against labels; mean over seeds, "
        f"with 95 % intervals over task families (t) where there are six, else for these tasks. Dashed: the best at "
        f"each number of labels, by name."
    )
    return Drawn(figure, caption, rows)


def _line(axis: Axes, line: Sequence[Point], i: int, of: int) -> None:
    """One contender; intervals stand beside each other, by factors, as the axis is logarithmic."""
    style = line_style(i)
    axis.plot([k for k, _ in line], [e.value for _, e in line], zorder=2, **style)
    step = min(b / a for (a, _), (b, _) in pairwise(line))
    aside = step ** (APART * ((i + 0.5) / of - 0.5))
    for k, e in line:
        if e.low is not None and e.high is not None:
            axis.plot([k * aside] * 2, [e.low, e.high], color=style["color"], linewidth=0.5, alpha=0.45, zorder=1)


def _frontier(axis: Axes, best: Sequence[str], points: Sequence[Point]) -> None:
    """Through the best of each number, with names; what is not to be beaten there."""
    axis.plot(
        [k for k, _ in points], [e.value for _, e in points], color="black", linestyle="--", linewidth=0.9, zorder=3
    )
    for i, (name, (k, _)) in enumerate(zip(best, points, strict=True)):
        side = "left" if i == 0 else "right" if i == len(best) - 1 else "center"
        axis.text(
            k, 1 - 0.04 * (i % 2), f"best: {name}", transform=axis.get_xaxis_transform(), ha=side, va="top", fontsize=6,
            fontweight="bold",
        )  # fmt: skip


def _mean(table: Table, contender: str, tasks: Sequence[str], metric: str) -> Estimate | None:
    """Over the tasks; None where the contender lacks one of them."""
    found = [s.estimate for task in tasks if (s := table.find(task, contender, metric)) is not None]
    if not found or len(found) < len(tasks) or not np.isfinite([e.value for e in found]).all():
        return None
    return over_tasks(found, [table.families[task] for task in tasks], most(metric))

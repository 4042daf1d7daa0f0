"""Every contender on every task, with 95 % intervals; the mean over tasks on the left."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt

from results.figures.style import FLOOR, STYLE, TITLES, Drawn, NothingToDrawError, floor_line, legend, numbers, scope
from results.measures import most
from results.table import Score, Table

MANY = 15  # contenders from which lines are set close


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    found = [s for s in table.scores if s.metric == metric]
    if not found:
        raise NothingToDrawError(f"no record has metric={metric}")
    panels = [*(["all"] if any(s.task == "all" for s in table.scores) else []), *table.tasks]
    order = list(reversed(table.contenders))
    many = len(order) > MANY
    height = 0.6 + (0.11 if many else 0.22) * len(order)
    columns = min(len(panels), 6 if many else 5)
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(width, height * lines), sharey=True, sharex=True, squeeze=False, layout="constrained"
    )
    left = max(0.0, min(FLOOR.get(metric, most(metric)), *(s.estimate.value for s in found)) - 0.08)
    right = min(most(metric), max(s.estimate.high or s.estimate.value for s in found) + 0.02)
    for axis, task in zip(axes.flat, panels, strict=False):
        axis.set_xlim(left, right)
        _dots(axis, [table.find(task, c, metric) for c in order], left)
        axis.set_title(
            "mean over tasks" if task == "all" else textwrap.fill(task, 24),
            fontweight="bold" if task == "all" else None,
            fontsize=6 if many else None,
        )
        axis.set_yticks(range(len(order)), order, fontsize=5 if many else None)
        floor_line(axis, metric, across=False)
        axis.grid(axis="x", linewidth=0.3)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel(f"{TITLES[metric]} (95 %)")
    legend(figure, table.scores)
    caption = f"{TITLES[metric]} of every contender, with 95 % intervals: the mean over {scope(table)}, and each task."
    return Drawn(figure, caption, numbers(found))


def _dots(axis: Any, found: Sequence[Score | None], left: float) -> None:
    """One line per contender; an arrow where an interval leaves the panel."""
    for y, s in enumerate(found):
        if s is None:
            continue
        e, style = s.estimate, STYLE[s.family]
        if e.low is not None and e.high is not None:
            axis.plot([e.low, e.high], [y, y], color=style["color"], linewidth=1.2, solid_capstyle="butt")
            if e.low < left:
                axis.plot([left], [y], marker="<", color=style["color"], markersize=4, clip_on=False)
        axis.scatter([e.value], [y], s=16, zorder=3, clip_on=False, **style)

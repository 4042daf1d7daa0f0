"""Every contender on every task, with 95 % intervals; the mean over tasks on the left."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt

from results.figures.style import (
    FLOOR,
    PAGE,
    STYLE,
    TITLES,
    Drawn,
    NothingToDrawError,
    floor_line,
    legend,
    numbers,
    scope,
)
from results.measures import most
from results.table import Score, Table

MANY = 15  # contenders from which lines are set close
FAR, CLOSE, LEAST = 0.22, 0.11, 0.07  # inches from line to line: of few contenders, of many, and if it must be
BESIDE = 0.6  # inches of a panel for its title and axis
LOWEST = 1.6  # inches of a figure, or heading and legend would leave no room
NAMES, NARROW = 1.0, 0.55  # inches for the names, and that a panel needs


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    found = [s for s in table.scores if s.metric == metric]
    if not found:
        raise NothingToDrawError(f"no record has metric={metric}")
    panels = [*(["all"] if any(s.task == "all" for s in table.scores) else []), *table.tasks]
    order = list(reversed(table.contenders))
    columns, lines, pitch = layout(len(panels), len(order), width)
    left_out = len(panels) - columns * lines
    size = min(8.0, 0.63 * 72 * pitch)  # of the names, in points
    small = 8.0 if size == 8 else 5.5  # of the other type
    room = (width - NAMES) / columns
    figure, axes = plt.subplots(
        lines, columns, figsize=(width, max(LOWEST, lines * (BESIDE + pitch * len(order)))), sharey=True, sharex=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    left = max(0.0, min(FLOOR.get(metric, most(metric)), *(s.estimate.value for s in found)) - 0.08)
    right = min(most(metric), max(s.estimate.high or s.estimate.value for s in found) + 0.02)
    for axis, task in zip(axes.flat, panels, strict=False):
        axis.set_xlim(left, right)
        _dots(axis, [table.find(task, c, metric) for c in order], left, min(4.0, size))
        axis.set_title(
            _wrapped("mean over tasks" if task == "all" else task, room, small),
            fontweight="bold" if task == "all" else None,
            fontsize=small,
        )
        axis.set_yticks(range(len(order)), order, fontsize=size)
        axis.tick_params(axis="x", labelsize=small)
        floor_line(axis, metric, across=False)
        axis.grid(axis="x", linewidth=0.3)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel(_wrapped(f"{TITLES[metric]} (95 %)", room, small), fontsize=small)
    legend(figure, table.scores)
    caption = f"{TITLES[metric]} of every contender, with 95 % intervals: the mean over {scope(table)}, and each task."
    if left_out > 0:
        caption += f" Of the tasks {left_out} find no room on a page; their numbers stand beside."
    return Drawn(figure, caption, numbers(found))


def layout(panels: int, contenders: int, width: float) -> tuple[int, int, float]:
    """Columns, lines of panels and inches from one contender to the next, within a page's height: where it is full
    there are more columns, then smaller type, then fewer panels."""
    pitch = CLOSE if contenders > MANY else FAR
    columns = min(panels, 6 if contenders > MANY else 5)
    lines = -(-panels // columns)
    if lines * (BESIDE + pitch * contenders) <= PAGE:
        return columns, lines, pitch
    most_columns = max(columns, int((width - NAMES) / NARROW))
    most_lines = max(1, int(PAGE / (BESIDE + LEAST * contenders)))
    lines = min(-(-panels // most_columns), most_lines)
    columns = min(-(-panels // lines), most_columns)
    return columns, lines, min(pitch, (PAGE / lines - BESIDE) / contenders)


def _wrapped(text: str, room: float, size: float) -> str:
    """Broken into lines of so many inches, where it can be within a name's words."""
    return textwrap.fill(text.replace("_", "_ "), max(8, int(72 * room / (0.6 * size)))).replace("_ ", "_")


def _dots(axis: Any, found: Sequence[Score | None], left: float, size: float) -> None:
    """One line per contender, marks of a size in points; an arrow where an interval leaves the panel."""
    for y, s in enumerate(found):
        if s is None:
            continue
        e, style = s.estimate, STYLE[s.family]
        if e.low is not None and e.high is not None:
            axis.plot([e.low, e.high], [y, y], color=style["color"], linewidth=0.3 * size, solid_capstyle="butt")
            if e.low < left:
                axis.plot([left], [y], marker="<", color=style["color"], markersize=size, clip_on=False)
        axis.scatter([e.value], [y], s=size**2, zorder=3, clip_on=False, **style)

"""Performance profiles: the share of tasks and seeds in which a contender reaches a score (Agarwal et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from results.figures.style import LINES, TITLES, Drawn, NothingToDrawError, name_points, named
from results.standing import known
from results.table import Table

MOST = 10  # contenders that one figure shows
STEPS = 101


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    every = [c for c in table.contenders if table.complete(c) and table.sides.get(c) != "control"]
    names = every[:MOST]
    tasks = known(table)
    if metric != table.main or not names or len(tasks) < 2:
        raise NothingToDrawError("it needs two tasks and the metric that ranks")
    values = {c: np.concatenate([table.measured[task, c].values for task in tasks]) for c in names}
    reached = np.concatenate(list(values.values()))
    grid = np.linspace(float(reached.min()), float(reached.max()), STEPS)
    figure, axis = named(width, len(names))
    rows, ends = [], []
    for i, c in enumerate(names):
        shares = (values[c][:, None] >= grid).mean(0)
        axis.step(
            grid, shares, where="post", color=LINES[i % len(LINES)], linewidth=0.9, linestyle="-" if i < 8 else "--"
        )
        middle = int(np.argmin(np.abs(shares - 0.5)))
        ends.append((c, float(grid[middle]), float(shares[middle]) + 1e-3 * (len(names) - i), LINES[i % len(LINES)]))
        rows += [{"contender": c, metric: float(x), "share": float(y)} for x, y in zip(grid, shares, strict=True)]
    axis.set_xlabel(TITLES[metric])
    axis.set_ylabel("share of tasks and seeds at or above")
    name_points(axis, ends)
    caption = f"The share of the {len(tasks)} tasks and their seeds in which each reaches a given {TITLES[metric]}."
    if len(every) > MOST:
        caption += f" The {MOST} of the {len(every)} methods and baselines that have the best means."
    return Drawn(figure, caption, rows)

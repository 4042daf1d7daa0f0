"""Each method beside what every contender is laid beside, task by task: above the diagonal it is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt

from results.figures.style import TITLES, Drawn, NothingToDrawError, floor_line, refuse_lower
from results.table import VERSUS, Table


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    refuse_lower(metric)
    other = VERSUS[table.board.track]
    methods = [m for m in table.complete_ones("method") if table.find("all", m, metric)]
    if other not in table.contenders or not table.complete(other) or not methods:
        raise NothingToDrawError(f"it needs {other} and a method, both with every cell")
    columns = min(len(methods), 4)
    lines = -(-len(methods) // columns)
    side = width / columns
    figure, axes = plt.subplots(
        lines, columns, figsize=(width, side * lines * 1.08), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for axis, method in zip(axes.flat, methods, strict=False):
        for task in table.tasks:
            one, two = table.find(task, method, metric), table.find(task, other, metric)
            if one is None or two is None:
                continue
            (x, xs), (y, ys) = ((s.estimate.value, (s.estimate.low, s.estimate.high)) for s in (two, one))
            for low, high, flat in ((*xs, True), (*ys, False)):
                if low is not None and high is not None:
                    axis.plot(
                        *(([low, high], [y, y]) if flat else ([x, x], [low, high])), color="#999999", linewidth=0.5
                    )
            axis.scatter(
                [x], [y], s=14, zorder=3, color="#D55E00" if y > x else "#0072B2", marker="^" if y > x else "v"
            )
            told = {metric: y, "low": ys[0], "high": ys[1], f"{other} {metric}": x, f"{other} low": xs[0]}
            rows.append({"task": task, "method": method, **told, f"{other} high": xs[1], "less": y - x})
        axis.axline((0.5, 0.5), slope=1, color="black", linewidth=0.6)
        floor_line(axis, metric)
        floor_line(axis, metric, across=False)
        wins = sum(r["less"] > 0 for r in rows if r["method"] == method)
        axis.set_title(f"{method}\n{wins} of {len(table.tasks)} above", fontsize=6)
        axis.set_aspect("equal", adjustable="box")
    for axis in axes.flat[len(methods) :]:
        axis.set_visible(False)
    for axis in axes.flat[max(len(methods) - columns, 0) : len(methods)]:
        axis.tick_params(labelbottom=True)  # the last of its column, with nothing below
    figure.supxlabel(f"{TITLES[metric]} of {other}", fontsize=8)
    figure.supylabel(f"{TITLES[metric]} of the method", fontsize=8)
    caption = f"Each method beside {other}, a mark per task, with 95 % intervals; above the line the method is better."
    return Drawn(figure, caption, rows)

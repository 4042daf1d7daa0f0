"""Score out of fold by the layer that is read: what the trials tell of where things are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from results.figures.style import LINES, TITLES, Drawn, NothingToDrawError, floor_line, name_points, named
from results.leaderboard import Table

FEWEST = 2  # layers that make a profile


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    found = {c: p for c in table.contenders if metric == table.main and len(p := profile(table, c)) >= FEWEST}
    if not found:
        raise NothingToDrawError("no contender tried two layers")
    figure, axis = named(width, len(found))
    rows, ends = [], []
    for i, (name, line) in enumerate(found.items()):
        xs, ys = [layer for layer, _, _ in line], [value for _, value, _ in line]
        axis.plot(xs, ys, color=LINES[i % len(LINES)], marker="o", markersize=3, linewidth=0.9)
        ends.append((name, xs[-1], ys[-1]))
        rows += [{"contender": name, "layer": layer, metric: value, "trials": n} for layer, value, n in line]
    axis.set_xlabel("layer, as a share of the model's depth")
    axis.set_ylabel(f"{TITLES[metric]} out of fold")
    floor_line(axis, metric)
    name_points(axis, ends)
    caption = (
        f"Mean {TITLES[metric]} out of fold of the trials at each layer, each less its cell's mean and set about the "
        f"mean of all, so that tasks that happened to try a layer do not make its height."
    )
    return Drawn(figure, caption, rows)


def profile(table: Table, contender: str) -> list[tuple[float, float, int]]:
    """Layer, mean score and number of trials. A trial counts by its distance from its cell's mean."""
    gaps: dict[float, list[float]] = {}
    levels = []
    for (_, name), records in table.records.items():
        for r in records if name == contender else ():
            told = [(t["params"].get("layer"), t["dev_score"]) for t in r.trials]
            known = [
                (float(layer), score) for layer, score in told if isinstance(layer, (int, float)) and score is not None
            ]
            if len({layer for layer, _ in known}) < FEWEST:
                continue
            level = float(np.mean([score for _, score in known]))
            levels.append(level)
            for layer, score in known:
                gaps.setdefault(layer, []).append(score - level)
    middle = float(np.mean(levels)) if levels else 0.0
    return [(layer, middle + float(np.mean(v)), len(v)) for layer, v in sorted(gaps.items())]

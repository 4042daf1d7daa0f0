"""Mean score against the number of labels, over the tasks that every regime has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from results.figures.style import LINES, TITLES, Drawn, NothingToDrawError, floor_line, name_points, named
from results.table import Table

SEVERAL = True
PROTOCOL = "fairfight"  # regimes of other protocols split in ways of their own
MARKERS = "os^vD*PX"


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    sizes = {k: t for t in reversed(boards) if (k := labels(t)) is not None}  # of two regimes of a size, the first
    by_labels = sorted(sizes.items())
    if len(by_labels) < 2:
        raise NothingToDrawError("it needs regimes of two sizes")
    tasks = [task for task in by_labels[0][1].tasks if all(task in t.tasks for _, t in by_labels)]
    names = [
        c for c in by_labels[-1][1].contenders if all(_mean(t, c, tasks, metric) is not None for _, t in by_labels)
    ]
    if not names or not tasks:
        raise NothingToDrawError("no contender has the same tasks in each regime")
    figure, axis = named(width, len(names))
    rows, ends = [], []
    for i, name in enumerate(names):
        line = [(k, float(_mean(t, name, tasks, metric) or 0.0)) for k, t in by_labels]
        axis.plot(
            *zip(*line, strict=True), color=LINES[i % len(LINES)], marker=MARKERS[i // len(LINES) % len(MARKERS)],
            markersize=3, linewidth=0.9,
        )  # fmt: skip
        ends.append((name, *line[-1]))
        rows += [{"contender": name, "labels": k, metric: value, "tasks": len(tasks)} for k, value in line]
    axis.set_xscale("log")
    axis.set_xticks([k for k, _ in by_labels], [str(k) for k, _ in by_labels])
    axis.minorticks_off()
    axis.set_xlabel("labels in all (training and choosing)")
    axis.set_ylabel(f"mean {TITLES[metric]}")
    floor_line(axis, metric)
    name_points(axis, ends)
    caption = (
        f"Mean {TITLES[metric]} over the {len(tasks)} tasks that each regime has, against labels; mean over seeds."
    )
    return Drawn(figure, caption, rows)


def labels(table: Table) -> int | None:
    """How many labels the regime gives; None where it differs from others in more than that."""
    regimes = [r.cell.regime for records in table.records.values() for r in records]
    found = {int(r["labels"]) for r in regimes if r.get("labels")}
    marred = any(r.get("noise") or r.get("positive") is not None or r.get("shift") for r in regimes)
    foreign = any(r.get("protocol", PROTOCOL) != PROTOCOL for r in regimes)
    return found.pop() if len(found) == 1 and not marred and not foreign else None


def _mean(table: Table, contender: str, tasks: Sequence[str], metric: str) -> float | None:
    found = [table.find(task, contender, metric) for task in tasks]
    return None if any(s is None for s in found) else float(np.mean([s.estimate.value for s in found if s]))

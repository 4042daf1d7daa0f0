"""What the baselines' toolbox gains when a method joins, with 95 % intervals over task families."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from results.figures.style import TITLES, Drawn, NothingToDrawError
from results.quiver import NONE, quivers
from results.table import Table


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    found = [q for q in quivers(table) if np.isfinite(q.change)] if metric == table.main else []
    if not found and table.board.track == "steer":
        raise NothingToDrawError(f"{NONE[0].lower()}{NONE[1:-1]}")
    if not found:
        raise NothingToDrawError("there is no method, or no baseline, that has every cell")
    names = [q.added[0] if len(q.added) == 1 else "all methods" for q in found]
    figure, axis = plt.subplots(figsize=(width, 0.9 + 0.22 * len(found)), layout="constrained")
    places = range(len(found) - 1, -1, -1)
    for y, q in zip(places, found, strict=True):
        if q.interval:
            axis.plot(q.interval, [y, y], color="#D55E00", linewidth=1.2)
        filled = "#D55E00" if q.picked else "white"
        axis.scatter([q.change], [y], edgecolor="#D55E00", facecolor=filled, s=16, zorder=3)
    axis.set_yticks(list(places), names)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.xaxis.set_major_locator(MaxNLocator(5))  # or their numbers collide
    axis.set_xlabel(f"change of the toolbox's mean {TITLES[metric]}")
    rows = [
        {"added": name, "change": q.change, "low": q.interval[0] if q.interval else "",
         "high": q.interval[1] if q.interval else "", "chosen": q.picked, "cells": q.cells, "without": q.without}
        for name, q in zip(names, found, strict=True)
    ]  # fmt: skip
    caption = (
        f"Change of the mean {TITLES[metric]} ({found[0].without:.3f}) of a toolbox of {len(found[0].pool)} baselines, "
        f"which answers each task with what did best out of fold, when a method joins it. Hollow: never chosen."
    )
    return Drawn(figure, caption, rows)

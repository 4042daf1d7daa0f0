"""Where a score's spread comes from: other tasks, other seeds, other examples."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt

from results.figures.style import TITLES, Drawn, NothingToDrawError
from results.standing import Spread, spread
from results.table import Table

COLOURS = {"task": "#0072B2", "seed": "#D55E00", "example": "#009E73"}


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    found = {c: s for c in table.contenders if metric == table.main and (s := spread(table, c)) is not None}
    if not found:
        raise NothingToDrawError("it needs two tasks, two seeds and the metric that ranks")
    order = list(reversed(found))
    figure, axis = plt.subplots(figsize=(width, 0.8 + 0.2 * len(order)), layout="constrained")
    for shift, (name, colour) in zip((0.25, 0, -0.25), COLOURS.items(), strict=True):
        values = [getattr(found[c], name) for c in order]
        axis.barh([y + shift for y in range(len(order))], values, height=0.24, color=colour, label=f"other {name}s")
    axis.set_yticks(range(len(order)), order)
    axis.set_xlabel(f"standard deviation of {TITLES[metric]}")
    figure.legend(loc="outside lower center", ncol=3, fontsize=7)
    rows = [{"contender": c, **{f: getattr(s, f) for f in Spread.__dataclass_fields__}} for c, s in found.items()]
    caption = (
        f"Standard deviation of {TITLES[metric]} over tasks, over seeds (of one task, averaged), and of the error from "
        f"the test's examples (one task, one seed)."
    )
    return Drawn(figure, caption, rows)

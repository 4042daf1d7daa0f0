"""How often each method beats, ties, loses, or cannot be told apart: one bar per method."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from results.figures.style import Drawn, NothingToDrawError
from results.render import count
from results.table import Table
from results.verdicts import ALL, WORDS, verdicts

COLOURS = dict(zip(WORDS, ("#009E73", "#56B4E9", "#D55E00", "#BBBBBB", "#E5E5E5", "#CC79A7"), strict=True))
HATCHES = dict(zip(WORDS, ("", "//", "xx", "", "..", "\\\\"), strict=True))


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    if metric != table.main:
        raise NothingToDrawError("verdicts are by the metric that ranks")
    found = [v for v in verdicts(table) if v.task != ALL]
    if not found:
        raise NothingToDrawError("there is no method, or no baseline, that has every cell")
    counts = {
        m: {w: sum(v.word == w for v in found if v.method == m) for w in WORDS} for m in {v.method for v in found}
    }
    order = sorted(counts, key=lambda m: ([-counts[m][w] for w in WORDS[:2]], counts[m]["loses"], m), reverse=True)
    figure, axis = plt.subplots(figsize=(width, 0.9 + 0.24 * len(order)), layout="constrained")
    left = dict.fromkeys(order, 0)
    for word in WORDS:
        axis.barh(
            order, [counts[m][word] for m in order], left=[left[m] for m in order], label=word, color=COLOURS[word],
            hatch=HATCHES[word], edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        for y, m in enumerate(order):
            if counts[m][word]:
                axis.text(
                    left[m] + counts[m][word] / 2,
                    y,
                    str(counts[m][word]),
                    ha="center",
                    va="center",
                    fontsize=6,
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0},
                )
            left[m] += counts[m][word]
    axis.set_xlabel(f"of {count(len(table.tasks), 'task')}")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncol=6, fontsize=6)
    rows = [{"method": m, **counts[m]} for m in reversed(order)]
    return Drawn(
        figure,
        f"Verdicts of each method, task by task, against the pool of baselines; margin {table.margins.task:g}.",
        rows,
    )

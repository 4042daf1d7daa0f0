"""Mean ranks over tasks; a bar joins those that Wilcoxon's signed ranks do not tell apart after Holm's adjustment.

For an appendix: who else entered moves every rank and bar (Benavoli et al. 2016); verdicts do not rest on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt

from results.figures.style import STYLE, Drawn, NothingToDrawError
from results.standing import alike, known, mean_ranks
from results.table import Table


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    ranks = mean_ranks(table) if metric == table.main else {}
    if len(ranks) < 2 or len(known(table)) < 6:
        raise NothingToDrawError("it needs six tasks, two contenders and the metric that ranks")
    order = sorted(ranks, key=lambda c: (ranks[c], c))
    bars = alike(table, order)
    figure, axis = plt.subplots(figsize=(width, 0.7 + 0.17 * len(order)), layout="constrained")
    for y, c in enumerate(order):
        axis.scatter([ranks[c]], [y], s=16, zorder=3, **STYLE[table.sides[c]])
    for i, (first, last) in enumerate(bars):
        x = max(ranks.values()) + 1.0 + 0.8 * i
        axis.plot([x, x], [first - 0.25, last + 0.25], color="black", linewidth=1.6, solid_capstyle="butt")
    axis.set_xticks([tick for tick in axis.get_xticks() if 1 <= tick <= len(order)])  # bars stand beyond the ranks
    axis.set_yticks(range(len(order)), order)
    axis.invert_yaxis()
    axis.set_xlabel(f"mean rank over {len(known(table))} tasks (1 is best)")
    within = [[str(i) for i, (first, last) in enumerate(bars) if first <= y <= last] for y in range(len(order))]
    rows = [
        {"contender": c, "mean rank": ranks[c], "bars": " ".join(mine)} for c, mine in zip(order, within, strict=True)
    ]
    caption = (
        "Mean rank of each contender over tasks. "
        + (
            "A bar joins contenders that Wilcoxon's signed ranks over families do not tell apart."
            if bars
            else "Too few families to tell any pair apart."
        )
        + " For an appendix."
    )
    return Drawn(figure, caption, rows)

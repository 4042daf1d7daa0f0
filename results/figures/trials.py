"""What tuning brought: the best dev score so far less the first trial's, by number of trials, all on the same axes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from results.figures.style import TITLES, Drawn, NothingToDrawError, line_style, name_points, named
from results.stats import FEWEST_FAMILIES
from results.table import Table
from results.tuning import gains

APART = 0.5  # of the distance between two trials, over which the intervals of one are spread


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    found = [g for g in gains(table) if len(g.after) > 1] if metric == table.main else []
    if not found:
        raise NothingToDrawError("it needs a contender with every cell and two trials, and the metric that ranks")
    figure, axis = named(width, len(found))
    ends, rows = [], []
    for i, g in enumerate(found):
        style = line_style(i)
        counts = range(1, len(g.after) + 1)
        axis.plot(counts, [e.value for e in g.after], **style)
        aside = APART * ((i + 0.5) / len(found) - 0.5)
        for k, e in zip(counts, g.after, strict=True):
            if k > 1 and e.low is not None and e.high is not None:
                axis.plot([k + aside] * 2, [e.low, e.high], color=style["color"], linewidth=0.5, alpha=0.45, zorder=1)
        ends.append((g.contender, float(len(g.after)), g.after[-1].value, style["color"]))
        rows += [
            {"contender": g.contender, "trials": k, "gain": e.value, "low": e.low, "high": e.high}
            for k, e in zip(counts, g.after, strict=True)
        ]
    axis.set_xlim(left=1 - 0.04 * max(len(g.after) for g in found))  # no tick at 0
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.axhline(0, color="black", linewidth=0.6, linestyle=":")
    axis.set_xlabel("trials")
    axis.set_ylabel(f"gain in {TITLES[metric]} where trials are chosen")
    name_points(axis, ends)
    families = len(set(table.families.values()))
    intervals = "with 95 % intervals over task families (t)" if families >= FEWEST_FAMILIES else "without intervals"
    caption = (
        f"The best {TITLES[metric]} so far where trials are chosen, less that of the first trial, by number of trials: "
        f"mean over {len(table.tasks)} task{'s' * (len(table.tasks) != 1)} of {families} "
        f"famil{'ies' if families != 1 else 'y'} and their seeds, {intervals}. The best of several rises by luck too."
    )
    return Drawn(figure, caption, rows)

"""Mean score against what a contender costs standing alone, in LM tokens; the Pareto frontier is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from results.charts import crowded
from results.figures.style import (
    STYLE,
    TITLES,
    Drawn,
    floor_line,
    legend,
    means,
    name_points,
    named,
    numbers,
    refuse_lower,
    scope,
)
from results.table import Score, Table


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    what = "in tokens read by the language model (full-depth equivalents)"
    return against(boards, metric, width, lambda s: s.lm_tokens, "LM tokens", what)


def against(
    boards: Sequence[Table], metric: str, width: float, cost: Callable[[Score], float], unit: str, what: str
) -> Drawn:
    """The figure for one kind of cost."""
    (table,) = boards
    refuse_lower(metric)
    found = means(table, metric)
    figure, axis = named(width, len(found))
    for s in found:
        low, high = s.estimate.low, s.estimate.high
        error = None if low is None or high is None else [[s.estimate.value - low], [high - s.estimate.value]]
        axis.errorbar(
            cost(s), s.estimate.value, error, fmt="none", ecolor=STYLE[s.family]["color"], elinewidth=0.6, alpha=0.5
        )
        axis.scatter([cost(s)], [s.estimate.value], s=20, zorder=3, **STYLE[s.family])
    best, frontier = float("-inf"), []
    for s in sorted(found, key=lambda s: (cost(s), -s.estimate.value)):
        if s.estimate.value > best:
            best = s.estimate.value
            frontier.append((cost(s), best))
    axis.step(*zip(*frontier, strict=True), where="post", color="black", linewidth=0.6, linestyle="--", zorder=1)
    _scale(axis, [cost(s) for s in found])
    axis.set_xlabel(f"{unit} for all tasks")
    axis.set_ylabel(f"mean {TITLES[metric]} (95 % interval)")
    floor_line(axis, metric)
    name_points(axis, [(s.contender, cost(s), s.estimate.value, STYLE[s.family]["color"]) for s in found])
    legend(figure, found)
    caption = (
        f"Mean {TITLES[metric]} over {scope(table)} against what a contender would cost standing alone, "
        f"{what}: selection, fit and queries, what two of them read once. "
        f"Dashed: the frontier, left of which nothing is as good."
    )
    return Drawn(figure, caption, numbers(found))


def _scale(axis: Axes, costs: Sequence[float]) -> None:
    """Logarithmic, unless that would crowd the marks; a mark at 0 stands whole."""
    most = max(costs)
    if crowded(costs):
        axis.set_xlim(-0.04 * (most or 1.0), 1.06 * (most or 1.0))
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        least = min(x for x in costs if x > 0)
        axis.set_xscale("symlog", linthresh=least / 2)
        axis.set_xlim(left=-least / 10, right=2 * most)

"""Mean score against what a contender costs standing alone, in seconds; the Pareto frontier is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from results.figures.cost import against
from results.figures.style import Drawn
from results.table import Table


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    what = "in seconds, its tokens at the rate of the machine that it ran on"
    return against(boards, metric, width, lambda s: s.seconds, "seconds", what)

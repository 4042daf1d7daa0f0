"""What steering reaches against what it breaks: a line through each contender's trials, by the selecting judge, and its
chosen trials on the test, by the scoring one, with a 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence

from results.figures.style import STYLE, TITLES, Drawn, NothingToDrawError, legend, means, name_points, named, scope
from results.table import Table


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    if table.board.track != "steer":
        raise NothingToDrawError("damage is of track steer alone")
    found = [(s, d) for s in means(table, metric) if (d := table.find("all", s.contender, "damage")) is not None]
    if not found:
        raise NothingToDrawError("no record tells its damage")
    figure, axis = named(width, len(found))
    rows = []
    for s, d in found:
        style, x, e = STYLE[s.family], d.estimate.value, s.estimate
        curve = table.curves.get(s.contender, ())
        if len(curve) > 1:
            axis.plot(*zip(*curve, strict=True), color=style["color"], linewidth=0.8, alpha=0.6, zorder=1)
        if e.low is not None and e.high is not None:
            axis.plot([x, x], [e.low, e.high], color=style["color"], linewidth=0.6)
        axis.scatter([x], [e.value], s=20, zorder=3, **style)
        rows += [{"contender": s.contender, "point": "chosen, scored", "damage": x, metric: e.value,
                  "low": e.low, "high": e.high}]  # fmt: skip
        rows += [{"contender": s.contender, "point": "trial, selected by", "damage": a, metric: b,
                  "low": None, "high": None} for a, b in curve]  # fmt: skip
    axis.set_xscale("symlog", linthresh=0.01)
    axis.set_xlim(left=-0.001)  # a mark at 0 stands whole
    axis.set_ylim(bottom=0)
    axis.set_xlabel(TITLES["damage"])
    axis.set_ylabel(TITLES[metric])
    name_points(axis, [(s.contender, d.estimate.value, s.estimate.value, "#999999") for s, d in found])
    legend(figure, [s for s, _ in found])
    caption = (
        f"{TITLES[metric]} against damage to answers to neutral instructions, {scope(table)}. Marks: chosen trials, by "
        f"the judge that scores, with 95 % intervals; lines: all trials, by the judge that selects."
    )
    return Drawn(figure, caption, rows)

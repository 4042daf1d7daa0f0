"""What each contender gains or loses in other regimes (fewer, wrong or rarer labels, a shift), beside the plain one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from results.figures.style import LINES, TITLES, Drawn, NothingToDrawError
from results.stats import difference
from results.table import PLAIN, Table

SEVERAL = True
MARKERS = "osv^D*PX"


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    plain = next((t for t in boards if t.board.regime == PLAIN), None)
    others = [t for t in boards if t is not plain]
    if plain is None or not others:
        raise NothingToDrawError(f"it needs the regime {PLAIN} and another")
    names = [c for c in plain.contenders if any(_changes(plain, t, c, metric)[0].size for t in others)]
    if not names:
        raise NothingToDrawError("no contender has a task in two regimes")
    figure, axis = plt.subplots(figsize=(width, 0.9 + 0.2 * len(names)), layout="constrained")
    rows: list[dict[str, Any]] = []
    for i, table in enumerate(others):
        style: dict[str, Any] = {"color": LINES[i % len(LINES)], "marker": MARKERS[i % len(MARKERS)], "markersize": 3.5}
        shift = (i - (len(others) - 1) / 2) * 0.6 / len(others)
        told = {}
        for y, name in enumerate(reversed(names)):
            gaps, families = _changes(plain, table, name, metric)
            if not gaps.size:
                continue
            found = difference(gaps, np.zeros(len(gaps)), families)
            value, low, high = found or (float(gaps.mean()), None, None)
            if low is not None and high is not None:
                axis.plot([low, high], [y + shift] * 2, color=style["color"], linewidth=0.8)
            told[y + shift] = value
            rows.append({"contender": name, "regime": table.board.regime, "change": value, "low": low, "high": high,
                         "tasks": len(gaps)})  # fmt: skip
        axis.plot(list(told.values()), list(told), linestyle="", label=table.board.regime, **style)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set_yticks(range(len(names)), list(reversed(names)), fontsize=6)
    axis.set_xlabel(f"change of the mean {TITLES[metric]} from the regime {PLAIN}")
    figure.legend(loc="outside lower center", ncol=4, fontsize=6)
    caption = (
        f"Change of each contender's mean {TITLES[metric]} from the regime {PLAIN}, over the tasks that both regimes "
        f"have ({_range(rows)}); 95 % intervals over task families (t) where there are six."
    )
    return Drawn(figure, caption, rows)


def _range(rows: Sequence[dict[str, Any]]) -> str:
    """How many tasks the points stand on."""
    few, many = min(r["tasks"] for r in rows), max(r["tasks"] for r in rows)
    return f"{few}" if few == many else f"{few} to {many}, as the numbers say"


def _changes(plain: Table, other: Table, name: str, metric: str) -> tuple[np.ndarray, list[str]]:
    """Change on each task that a contender has in both, and the tasks' families."""
    both = [(t, plain.find(t, name, metric), other.find(t, name, metric)) for t in plain.tasks]
    found = [(b.estimate.value - a.estimate.value, plain.families[t]) for t, a, b in both if a and b]
    return np.array([change for change, _ in found]), [family for _, family in found]

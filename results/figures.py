"""Figures for a paper, from the tables of the leaderboard. Regenerating one gives the same bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.leaderboard import Score, Table, most

# Okabe and Ito's colours, which colour-blind readers tell apart; a marker besides, for grey printing.
STYLE: dict[str, dict[str, Any]] = {
    "method": {"color": "#D55E00", "marker": "o"},
    "baseline": {"color": "#0072B2", "marker": "s"},
    "control": {"color": "#7F7F7F", "marker": "^"},
}
FLOOR = {"auroc": 0.5}
TITLES = {"auroc": "AUROC", "accuracy": "Accuracy", "f1": "F1", "balanced_accuracy": "Balanced accuracy",
          "ece": "Expected calibration error", "brier": "Brier score",
          "score": "Steering score", "concept": "Concept", "relevance": "Relevance",
          "fluency": "Fluency", "damage": "Damage to neutral answers (nats per token)",
          "perplexity": "Perplexity of neutral answers", "auprc": "AUPRC",
          "tpr_at_1_fpr": "True positives at 1 % false ones",
          "auroc_without_hard_negatives": "AUROC without hard negatives",
          "worst_group_accuracy": "Accuracy in the worst group"}  # fmt: skip
_RC: Any = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 8,
    "legend.frameon": False, "pdf.fonttype": 42, "svg.hashsalt": "fairfight",
}  # fmt: skip


def scores(table: Table, metric: str, width: float) -> Figure:
    """Every contender on every task, with 95 % intervals; the mean over tasks on the left."""
    panels = [*(["all"] if any(s.task == "all" for s in table.scores) else []), *table.tasks]
    order = list(reversed(table.contenders))
    height = 0.6 + 0.22 * len(order)
    columns = min(len(panels), 5)
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(width, height * lines), sharey=True, sharex=True, squeeze=False, layout="constrained"
    )
    found = [s for s in table.scores if s.metric == metric]
    left = max(0.0, min(FLOOR.get(metric, most(metric)), *(s.estimate.value for s in found)) - 0.08)
    right = min(most(metric), max(s.estimate.high or s.estimate.value for s in found) + 0.02)
    for axis, task in zip(axes.flat, panels, strict=False):
        axis.set_xlim(left, right)
        _dots(axis, [table.find(task, c, metric) for c in order], left)
        axis.set_title(
            "mean over tasks" if task == "all" else textwrap.fill(task, 24),
            fontweight="bold" if task == "all" else None,
        )
        axis.set_yticks(range(len(order)), order)
        if metric in FLOOR:
            axis.axvline(FLOOR[metric], color="black", linewidth=0.6, linestyle=":")
        axis.grid(axis="x", linewidth=0.3)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel(f"{TITLES[metric]} (95 %)")
    _legend(figure, table.scores)
    return figure


def cost(table: Table, metric: str, width: float) -> Figure:
    """Mean score against LM tokens, as if each contender stood alone; the frontier is drawn."""
    figure, axis = plt.subplots(figsize=(width, width * 0.75), layout="constrained")
    found = [s for c in table.contenders if (s := table.find("all", c, metric))]
    for s in found:
        low, high = s.estimate.low, s.estimate.high
        error = None if low is None or high is None else [[s.estimate.value - low], [high - s.estimate.value]]
        axis.errorbar(_x(s), s.estimate.value, error, fmt="none", ecolor=STYLE[s.family]["color"], elinewidth=0.8)
        axis.scatter([_x(s)], [s.estimate.value], s=22, zorder=3, **STYLE[s.family])
        axis.annotate(s.contender, (_x(s), s.estimate.value), xytext=(4, 4), textcoords="offset points", fontsize=7)
    best, frontier = float("-inf"), []
    for s in sorted(found, key=lambda s: (_x(s), -s.estimate.value)):
        if s.estimate.value > best:
            best = s.estimate.value
            frontier.append((_x(s), best))
    axis.step(*zip(*frontier, strict=True), where="post", color="black", linewidth=0.6, linestyle="--", zorder=1)
    if any(_x(s) > 0 for s in found):
        axis.set_xscale("symlog", linthresh=100)
        axis.set_xlim(left=-20, right=10 * max(map(_x, found)))
    else:
        axis.set_xlim(-1, 1)
    axis.set_xlabel("LM tokens for all tasks: selection, fit and queries (full-depth equivalents)")
    axis.set_ylabel(f"mean {TITLES[metric]} (95 % interval)")
    if metric in FLOOR:
        axis.axhline(FLOOR[metric], color="black", linewidth=0.6, linestyle=":")
    _legend(figure, found)
    return figure


def damage(table: Table, metric: str, width: float) -> Figure:
    """What steering reaches against what it breaks: a line through each contender's trials, by the selecting judge, and
    its chosen trials on the test, by the scoring one, with a 95 % interval."""
    figure, axis = plt.subplots(figsize=(width, width * 0.75), layout="constrained")
    found = [s for c in table.contenders if (s := table.find("all", c, metric))]
    for s in found:
        style, hurt = STYLE[s.family], table.find("all", s.contender, "damage")
        curve = table.curves.get(s.contender, ())
        if len(curve) > 1:
            axis.plot(*zip(*curve, strict=True), color=style["color"], linewidth=0.8, alpha=0.6, zorder=1)
        if hurt is None:
            continue
        x, y, low, high = hurt.estimate.value, s.estimate.value, s.estimate.low, s.estimate.high
        if low is not None and high is not None:
            axis.plot([x, x], [low, high], color=style["color"], linewidth=0.6)
        axis.scatter([x], [y], s=22, zorder=3, **style)
        axis.annotate(s.contender, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=6)
    axis.set_xscale("symlog", linthresh=0.01)
    axis.set_xlim(left=0)
    axis.set_xlabel(TITLES["damage"])
    axis.set_ylabel(TITLES[metric])
    _legend(figure, found)
    return figure


Kind = Callable[[Table, str, float], Figure]
KINDS: dict[str, Kind] = {"scores": scores, "cost": cost, "damage": damage}
AGGREGATES = ("cost", "damage")  # kinds that show means over all tasks
TRACKS = {"damage": "steer"}  # kinds that one track alone has
MAIN = "main"  # as a metric: the one that ranks the board


def shows(kind: str, table: Table, metric: str) -> bool:
    """Whether a board has what a figure shows."""
    wanted = table.main if metric == MAIN else metric
    return any(s.metric == wanted and (s.task == "all" or kind not in AGGREGATES) for s in table.scores)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """One PNG (300 dpi) and one PDF without dates, so that the same records give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    figure.savefig(paths[0], dpi=300, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"CreationDate": None, "Producer": None, "Creator": None})
    plt.close(figure)
    return paths


def draw(kind: str, table: Table, metric: str, width: float) -> Figure:
    """A figure of one kind for one board."""
    with plt.rc_context(_RC):
        figure = KINDS[kind](table, table.main if metric == MAIN else metric, width)
        b = table.board
        figure.suptitle(f"{b.model}, {b.track}, regime {b.regime}, budget {b.budget}, {b.half} half", fontsize=7)
    return figure


def _dots(axis: Any, found: Sequence[Score | None], left: float) -> None:
    """One line per contender; an arrow where an interval leaves the panel."""
    for y, s in enumerate(found):
        if s is None:
            continue
        e, style = s.estimate, STYLE[s.family]
        if e.low is not None and e.high is not None:
            axis.plot([e.low, e.high], [y, y], color=style["color"], linewidth=1.2, solid_capstyle="butt")
            if e.low < left:
                axis.plot([left], [y], marker="<", color=style["color"], markersize=4, clip_on=False)
        axis.scatter([e.value], [y], s=16, zorder=3, clip_on=False, **style)


def _x(score: Score) -> float:
    return score.lm_tokens


def _legend(figure: Figure, shown: Sequence[Score]) -> None:
    present = {s.family for s in shown}
    handles = [
        Line2D([], [], linestyle="", markersize=4, label=family, **style)
        for family, style in STYLE.items()
        if family in present
    ]
    figure.legend(handles=handles, loc="outside lower center", ncol=3, fontsize=7)

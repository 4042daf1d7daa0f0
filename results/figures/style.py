"""What all figures share: colours, words, names that do not collide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.table import Score, Table

# Okabe and Ito's colours, which colour-blind readers tell apart; a marker besides, for grey printing.
STYLE: dict[str, dict[str, Any]] = {
    "method": {"color": "#D55E00", "marker": "o"},
    "baseline": {"color": "#0072B2", "marker": "s"},
    "control": {"color": "#7F7F7F", "marker": "^"},
}
LINES = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F",
)  # fmt: skip
MARKERS = "os^vD*PX"
PAGE = 9.0  # inches that a figure may be high
FLOOR = {"auroc": 0.5, "auroc_without_hard_negatives": 0.5}
TITLES = {"auroc": "AUROC", "accuracy": "Accuracy", "f1": "F1", "balanced_accuracy": "Balanced accuracy",
          "ece": "Expected calibration error", "brier": "Brier score",
          "score": "Steering score", "concept": "Concept", "relevance": "Relevance",
          "fluency": "Fluency", "damage": "Damage to neutral answers (nats per token)",
          "perplexity": "Perplexity of neutral answers", "auprc": "AUPRC",
          "tpr_at_1_fpr": "True positives at 1 % false ones",
          "auroc_without_hard_negatives": "AUROC without hard negatives",
          "worst_group_accuracy": "Accuracy in the worst group"}  # fmt: skip
RC: Any = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 8,
    "legend.frameon": False, "pdf.fonttype": 42, "svg.hashsalt": "fairfight", "svg.fonttype": "none",
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A figure, what to say under it, and its numbers."""

    figure: Figure
    caption: str
    numbers: Sequence[Mapping[str, Any]]


LOWER = ("ece", "brier", "damage", "perplexity")  # metrics of which less is better


class NothingToDrawError(Exception):
    """Why the boards have nothing of what a figure shows, in a few words."""


def heading(boards: Sequence[Table]) -> str:
    """What the boards have in common."""
    b = boards[0].board
    regimes = ", ".join(dict.fromkeys(t.board.regime for t in boards))
    judged = f", judge {b.judge}" if b.judge else ""
    return f"{b.model}, {b.track}, regime {regimes}, budget {b.budget}, {b.half} half{judged}"


def means(table: Table, metric: str) -> list[Score]:
    """The aggregates of those that have every cell, best first."""
    found = [s for c in table.contenders if (s := table.find("all", c, metric)) is not None]
    if not found:
        raise NothingToDrawError(f"no contender has every cell and metric={metric}")
    return found


def refuse_lower(metric: str) -> None:
    if metric in LOWER:
        raise NothingToDrawError(f"of {metric} less is better, and this figure takes more for better")


def numbers(found: Iterable[Score]) -> list[dict[str, Any]]:
    return [s.row() for s in found]


def scope(table: Table) -> str:
    """Of what a mean and its interval speak, for a caption."""
    families = len(set(table.families.values()))
    return (
        f"{len(table.tasks)} task{'s' * (len(table.tasks) != 1)} of {families} famil{'ies' if families != 1 else 'y'}"
    )


def legend(figure: Figure, shown: Iterable[Score]) -> None:
    present = {s.family for s in shown}
    handles = [
        Line2D([], [], linestyle="", markersize=4, label=family, **style)
        for family, style in STYLE.items()
        if family in present
    ]
    figure.legend(handles=handles, loc="outside lower center", ncol=3, fontsize=7)


def line_style(i: int) -> dict[str, Any]:
    """Of the i-th of many lines: colours first, then the same with another marker."""
    return {"color": LINES[i % len(LINES)], "marker": MARKERS[i // len(LINES) % len(MARKERS)], "markersize": 3,
            "linewidth": 0.9}  # fmt: skip


def floor_line(axis: Axes, metric: str, across: bool = True) -> None:
    if metric in FLOOR:
        (axis.axhline if across else axis.axvline)(FLOOR[metric], color="black", linewidth=0.6, linestyle=":")


def named(width: float, names: int) -> tuple[Figure, Axes]:
    """Axes with room for a column of names to the right of them."""
    height = max(0.62 * width, 1.0 + 0.115 * names)
    figure, axis = plt.subplots(figsize=(width, height))
    figure.subplots_adjust(left=0.13, right=0.66, bottom=0.65 / height, top=1 - 0.25 / height)
    return figure, axis


def name_points(axis: Axes, points: Sequence[tuple[str, float, float, str]], size: float = 6.0) -> None:
    """Names in a column right of the axes, none upon another, each joined to its mark (name, x, y, colour) by a line
    of its colour. Needs final limits."""
    axis.figure.canvas.draw()
    low, high = axis.get_ylim()
    height = axis.get_window_extent().height / axis.figure.dpi * 72  # points
    gap = 1.25 * size / max(height, 1.0)
    ordered = sorted(points, key=lambda p: (-p[2], -p[1]))
    at = [(y - low) / (high - low) for _, _, y, _ in ordered]
    for i in range(1, len(at)):
        at[i] = min(at[i], at[i - 1] - gap)
    limit = 0.0
    for i in range(len(at) - 1, -1, -1):  # from below: pushed up only as far as the one beneath needs
        at[i] = limit = max(at[i], limit)
        limit += gap
    for (name, x, y, colour), place in zip(ordered, at, strict=True):
        axis.annotate(
            name, (x, y), xytext=(1.07, place), textcoords="axes fraction", fontsize=size, va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "linewidth": 0.4, "color": colour, "shrinkA": 2, "shrinkB": 1,
                # the line leaves the name's left straight, or it would seem to be its neighbour's
                "patchA": None, "relpos": (0, 0.5), "connectionstyle": "arc,angleA=180,angleB=0,armA=7,armB=0,rad=0",
            },
        )  # fmt: skip

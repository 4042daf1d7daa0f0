"""How far two judges agree on the same answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, spearmanr

from results.table import Table

LEVELS = 3  # of a rating: 0, 1, 2 in AxBench
Interval = tuple[float, float, float]  # value, low, high
Scores = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """Of one sub-score. kappa: quadratically weighted, on ratings. rho: Spearman's over answers. tau: Kendall's over
    contenders' means. None where a number is not defined: a judge rates all alike or nothing, or there is one
    contender."""

    answers: int
    first: float | None  # mean
    second: float | None
    kappa: float | None
    rho: float | None
    tau: float | None


def agreement(first: np.ndarray, second: np.ndarray, contenders: Sequence[str]) -> Agreement:
    """Of two judges' scores [n] in [0, 1] on answers [n] of contenders; answers that one withholds do not count."""
    known = np.isfinite(first) & np.isfinite(second)
    a, b, names = first[known], second[known], np.array(contenders)[known]
    every = list(dict.fromkeys(names.tolist()))
    means = np.array([[x[names == name].mean() for name in every] for x in (a, b)])
    return Agreement(
        answers=len(a),
        first=float(a.mean()) if len(a) else None,
        second=float(b.mean()) if len(b) else None,
        kappa=weighted_kappa(levels(a), levels(b)),
        rho=float(spearmanr(a, b).statistic) if _vary(a, b) else None,
        tau=float(kendalltau(*means).statistic) if _vary(*means) else None,
    )


def on_what_both_know(first: Scores, second: Scores) -> tuple[Scores, Scores]:
    """Two judges' sub-scores of the same answers, NaN in both where either withholds: what is left compares judges
    and not sets of concepts."""
    gaps = {name: np.where(np.isfinite(first[name]) & np.isfinite(second[name]), 0.0, np.nan) for name in first}
    one, two = ({name: scores[name] + gaps[name] for name in gaps} for scores in (first, second))
    return one, two


@dataclass(frozen=True)
class Contrast:
    """A contender's mean score by two judges, and its distance from another contender by each (95 % intervals);
    of the concepts that both judge."""

    contender: str
    scores: tuple[float, float]
    gaps: tuple[Interval | None, Interval | None]


def contrasts(first: Table, second: Table, versus: str) -> list[Contrast]:
    """Of the contenders that both tables rank, in the first one's order."""
    found = []
    for name in first.contenders:
        one, two = (table.find("all", name) for table in (first, second))
        if one and two:
            gaps = first.against(name, versus), second.against(name, versus)
            found.append(Contrast(name, (one.estimate.value, two.estimate.value), gaps))
    return found


def levels(scores: np.ndarray) -> np.ndarray:
    """Scores in [0, 1] as the nearest rating 0, 1 or 2; halves go up."""
    return np.floor(scores * (LEVELS - 1) + 0.5).astype(int)


def weighted_kappa(a: np.ndarray, b: np.ndarray) -> float | None:
    """Cohen's kappa of ratings [n] with quadratic weights (Cohen 1968); None where both never vary."""
    disagreed = float(((a - b) ** 2).mean()) if len(a) else 0.0
    by_chance = float(a.var() + b.var() + (a.mean() - b.mean()) ** 2) if len(a) else 0.0
    return 1 - disagreed / by_chance if by_chance else None


def markdown(found: Mapping[str, Agreement], first: str, second: str) -> str:
    """A table, one line per sub-score."""
    head = f"| | answers | {first} | {second} | weighted kappa | Spearman, answers | Kendall, contenders |"
    rows = []
    for name, a in found.items():
        means = ["–" if mean is None else f"{mean:.3f}" for mean in (a.first, a.second)]
        told = [str(a.answers), *means, *map(_told, (a.kappa, a.rho, a.tau))]
        rows.append(f"| {' | '.join([name, *told])} |")
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def contrasts_as_markdown(found: Sequence[Contrast], first: str, second: str, versus: str) -> str:
    """A table, one line per contender."""
    head = f"| contender | {first} | {second} | less {versus}, {first} | less {versus}, {second} |"
    rows = [
        f"| {c.contender} | {c.scores[0]:.3f} | {c.scores[1]:.3f} | {' | '.join(map(_interval, c.gaps))} |"
        for c in found
    ]
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def _interval(gap: Interval | None) -> str:
    return "–" if gap is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*gap)


def _vary(a: np.ndarray, b: np.ndarray) -> bool:
    return len(a) > 1 and bool(a.min() < a.max() and b.min() < b.max())


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"

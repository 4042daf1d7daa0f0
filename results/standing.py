"""Other ways to look at a board: ranks, wins, normalised scores, and where a score's spread comes from.

Ranks and win rates depend on who else entered; verdicts do not rest on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, wilcoxon

from results.stats import by_family, holm
from results.table import Table, floor_of

ALPHA = 0.05


@dataclass(frozen=True)
class Standing:
    """Of one contender among the complete ones.

    rank: mean over tasks, 1 is best. wins: the share of tasks and others that it is above, ties a half. improves: the
    chance that on a task, with a seed each, it is above the contender that all are laid beside (Agarwal et al. 2021).
    normalised: mean of (score - floor) / (1 - floor). spread: where the scores' variance comes from.
    """

    contender: str
    rank: float
    wins: float
    improves: float | None
    normalised: float
    spread: Spread | None


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the main metric: over tasks, over the seeds of a task, and of a value by its examples."""

    task: float
    seed: float
    example: float


def standings(table: Table, versus: str) -> list[Standing]:
    """Complete contenders by mean rank, then name."""
    names, tasks = complete(table), known(table)
    if not names or not tasks:
        return []
    scores = _scores(table, names)
    ranks = mean_ranks(table)
    above = (scores[:, None] > scores[None]).mean(2) + (scores[:, None] == scores[None]).mean(2) / 2
    floors = np.array([floor_of(table, task) for task in tasks])
    found = [
        Standing(
            c,
            ranks[c],
            float((above[i].sum() - 0.5) / max(len(names) - 1, 1)),
            _improves(table, c, versus) if versus in names and c != versus else None,
            float(np.mean((scores[i] - floors) / np.maximum(1 - floors, 1e-9))),
            spread(table, c),
        )
        for i, c in enumerate(names)
    ]
    return sorted(found, key=lambda s: (s.rank, s.contender))


def complete(table: Table) -> list[str]:
    return [
        c for c in table.contenders if table.complete(c) and all((task, c) in table.measured for task in table.tasks)
    ]


def known(table: Table) -> list[str]:
    """Tasks on which every complete contender has a score: of some a judge withholds all."""
    return table.once("known", lambda: _known(table, complete(table)))


def mean_ranks(table: Table) -> dict[str, float]:
    """Mean rank of each complete contender over tasks; ties share."""
    names = complete(table)
    ranks = rankdata(-_scores(table, names), axis=0) if names and known(table) else np.zeros((0, 0))
    return {c: float(ranks[i].mean()) for i, c in enumerate(names)} if ranks.size else {}


def alike(table: Table, order: Sequence[str]) -> list[tuple[int, int]]:
    """Longest runs of `order` (places of the first and the last) in which no pair is told apart: Wilcoxon's signed
    ranks over families' means at 5 %, adjusted over all pairs (Holm). None where so few families could tell no pair
    apart."""
    families = [table.families[task] for task in known(table)]
    if len(order) * (len(order) - 1) / 2 * 2 / 2 ** len(set(families)) > ALPHA:
        return []
    scores = np.array([by_family(row, families) for row in _scores(table, order)])
    pairs = [(i, j) for i in range(len(order)) for j in range(i + 1, len(order))]
    p = holm([_signed_ranks(scores[i] - scores[j]) for i, j in pairs])
    apart = {pair for pair, value in zip(pairs, p, strict=True) if value <= ALPHA}
    runs: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and not any((k, last + 1) in apart for k in range(first, last + 1)):
            last += 1
        if last > first and not (runs and runs[-1][1] >= last):
            runs.append((first, last))
    return runs


def spread(table: Table, contender: str) -> Spread | None:
    """Of a complete contender on two tasks or more with two seeds or more each."""
    tasks = known(table)
    if contender not in complete(table) or len(tasks) < 2:
        return None
    each = [table.measured[task, contender] for task in tasks]
    if any(len(m.values) < 2 for m in each):
        return None
    examples = [
        variance
        for m in each
        if m.influence is not None and m.among is not None
        for variance in m.among.variance(m.influence)
    ]
    return Spread(
        float(np.std([m.values.mean() for m in each], ddof=1)),
        float(np.mean([m.values.var(ddof=1) for m in each]) ** 0.5),
        float(np.mean(examples) ** 0.5) if examples else float("nan"),
    )


def _known(table: Table, names: Sequence[str]) -> list[str]:
    return [task for task in table.tasks if all(np.isfinite(table.measured[task, c].values).all() for c in names)]


def _improves(table: Table, one: str, two: str) -> float:
    """Over tasks, the mean share of pairs of seeds in which the one is above the other, ties a half."""
    shares = []
    for task in known(table):
        gaps = table.measured[task, one].values[:, None] - table.measured[task, two].values[None]
        shares.append(float((gaps > 0).mean() + (gaps == 0).mean() / 2))
    return float(np.mean(shares))


def _scores(table: Table, names: Sequence[str]) -> np.ndarray:
    """[contenders, tasks], means over seeds."""
    return np.array([[float(np.mean(table.measured[task, c].values)) for task in known(table)] for c in names])


def _signed_ranks(gaps: np.ndarray) -> float:
    return float(wilcoxon(gaps).pvalue) if np.any(gaps) else 1.0

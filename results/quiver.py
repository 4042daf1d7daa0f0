"""The quiver of arrows: does a method improve the baselines' toolbox?

A toolbox answers a task with the contender that did best on the shared folds, chosen anew for every task and seed. The
question of SAE-Probes (Kantamneni et al. 2025): does the test score rise when a method is put into the toolbox? There
one holdout of 100 rows chose, which rewards luck; here the folds choose that chose the trials.

In track `steer` there is no toolbox: every concept's trial is the best of a few on ten instructions, so that what it
reached there flatters whoever had more trials, and no record holds what would have been reached on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from results.stats import difference
from results.table import Table

NONE = "Track steer has no toolbox: what a trial reached where it was chosen flatters whoever had more of them."


@dataclass(frozen=True)
class Quiver:
    """A toolbox without some arrows, its mean AUROC, and the change that they bring."""

    added: tuple[str, ...]
    pool: tuple[str, ...]
    without: float
    change: float
    interval: tuple[float, float] | None  # 95 %, over task families (t); None where they are too few
    picked: int  # cells (task and seed) in which one of the added was chosen
    cells: int


def pool(table: Table) -> tuple[str, ...]:
    """The baselines that have every cell of the board."""
    return table.complete_ones("baseline")


def quivers(table: Table) -> list[Quiver]:
    """Each complete method added to the complete baselines by itself, then all of them."""
    return table.once("quivers", lambda: _quivers(table))


def _quivers(table: Table) -> list[Quiver]:
    arrows, methods = pool(table), table.complete_ones("method")
    if not arrows or table.board.track == "steer":
        return []
    groups = [(method,) for method in methods] + ([methods] if len(methods) > 1 else [])
    return [quiver(table, arrows, added) for added in groups]


def quiver(table: Table, arrows: Sequence[str], added: Sequence[str]) -> Quiver:
    """The change of the test score, mean over seeds and then over tasks, when `added` join the toolbox `arrows`."""
    before, after = [], []
    picked = cells = 0
    for task in table.tasks:
        scores = []
        for seed in table.seeds(task):
            old, new = (_choice(table, task, seed, names) for names in (arrows, [*arrows, *added]))
            scores.append([table.cells[task, name, seed][1] for name in (old, new)])
            picked += new in added
            cells += 1
        one, two = np.mean(scores, axis=0)
        before.append(one)
        after.append(two)
    families = [table.families[task] for task in table.tasks]
    found = difference(np.array(after), np.array(before), families)
    return Quiver(
        tuple(added),
        tuple(arrows),
        _mean(before, families, by_family=found is not None),
        _mean(list(np.subtract(after, before)), families, by_family=found is not None),
        found[1:] if found else None,
        picked,
        cells,
    )


def _mean(values: Sequence[float], families: Sequence[str], by_family: bool) -> float:
    """As the table's aggregate: over families where there are enough for an interval, else over tasks."""
    if not by_family:
        return float(np.mean(values))
    names = sorted(set(families))
    return float(np.mean([np.mean([v for v, f in zip(values, families, strict=True) if f == n]) for n in names]))


def _choice(table: Table, task: str, seed: int, names: Sequence[str]) -> str:
    """The best out of fold; of equals the first named, so that what is added must be better."""
    return max(names, key=lambda name: table.cells[task, name, seed][0])

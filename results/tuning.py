"""What tuning brought: how far the best dev score so far stands above that of trial 1, by number of trials.

The best of several scores rises by luck too, which contenders with nothing to tune for (shuffled labels) show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from results.record import Record
from results.stats import Estimate, over_families
from results.table import Table


@dataclass(frozen=True)
class Gain:
    """A contender's gain over its first trial after 1, 2, ... trials, mean over the board's cells."""

    contender: str
    after: tuple[Estimate, ...]  # with intervals over task families where there are enough of them


def gains(table: Table) -> list[Gain]:
    """Of the complete contenders whose every task tells its trials, in the board's order."""
    return table.once("tuning", lambda: _gains(table))


def best_so_far(records: Sequence[Record]) -> np.ndarray:
    """The best dev score after each trial [cells, trials]; a cell that had fewer trials than others keeps its best.

    Where each concept chooses for itself, the best is of each concept, and the score their mean.
    """
    each = [line for r in records if r.status == "ok" and (line := _of_cell(r)) is not None]
    longest = max(map(len, each), default=0)
    return np.array([_stretched(line, longest) for line in each]).reshape(len(each), longest)


def _gains(table: Table) -> list[Gain]:
    families = [table.families[task] for task in table.tasks]
    found = []
    for contender in table.contenders:
        each = [best_so_far(table.records.get((task, contender), ())) for task in table.tasks]
        if not table.complete(contender) or not all(best.size for best in each):
            continue
        means = [best.mean(0) - best[:, 0].mean() for best in each]
        longest = max(map(len, means))
        risen = np.array([_stretched(line, longest) for line in means])
        found.append(Gain(contender, tuple(_over_tasks(column, families) for column in risen.T)))
    return found


def _stretched(line: np.ndarray, longest: int) -> np.ndarray:
    """The line with its last value repeated to a length."""
    return line if len(line) == longest else np.pad(line, (0, longest - len(line)), mode="edge")


def _over_tasks(gaps: np.ndarray, families: Sequence[str]) -> Estimate:
    return over_families(gaps, families) or Estimate(float(gaps.mean()), None, None, None, np.inf)


def _of_cell(record: Record) -> np.ndarray | None:
    """[trials]; None where nothing is known of the first. A later trial that failed leaves the best as it was."""
    if not record.trials:
        return None
    told = [t.get("parts") or [t["dev_score"]] for t in record.trials]
    scores = np.array([[np.nan if x is None else x for x in row] for row in told], dtype=float)
    scores = scores[:, np.isfinite(scores[0])]  # of some concepts a judge withholds every score
    return np.asarray(np.fmax.accumulate(scores, axis=0).mean(1)) if scores.size else None

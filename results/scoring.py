"""What contenders reached on a task, over their seeds, and over all tasks of a board."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from results import measures
from results.measures import MAIN, most
from results.metrics import METRICS, evaluate
from results.record import Answers, Record, Steered
from results.stats import Clusters, Estimate, Measured, clusters, each_over_seeds, over_parts, over_tasks
from results.store import StoreError
from results.table import Board, Score

Cells = Mapping[str, Sequence[Record]]  # contender -> its records with a result on one task, one for each seed


@dataclass
class Scored:
    """Contenders on one task."""

    scores: list[Score] = field(default_factory=list)
    measured: dict[str, Measured] = field(default_factory=dict)  # contender -> the main metric, seed by seed
    values: dict[tuple[str, int], float] = field(default_factory=dict)  # contender, seed -> the main metric


def on_task(board: Board, task: str, cells: Cells) -> Scored:
    """Every metric of every contender on one task. Test rows are the same for all, which are measured in one go."""
    first = next(iter(cells.values()))[0]
    assert first.test is not None
    for record in (r for records in cells.values() for r in records):
        if not isinstance(first.test, Answers) or not isinstance(record.test, Answers):
            continue
        if not record.test.same_rows(first.test):
            raise StoreError(
                f"The records {first.key[:12]} and {record.key[:12]} of task {task!r} answer different test rows: "
                f"one of them is of other data under the same version. Delete it (or its pack) and run its cell again."
            )
        if not np.isfinite(record.test.score).all():
            raise StoreError(
                f"The record {record.key[:12]} of task {task!r} has scores that are no numbers; delete it (or its "
                f"pack) and run its cell again."
            )
    suite = isinstance(first.test, Steered) or len(set(first.test.part)) > 1
    return _on_suite(board, task, cells) if suite else _on_rows(board, task, cells)


def _on_rows(board: Board, task: str, cells: Cells) -> Scored:
    found = Scored()
    tests, devs = _answers([r for records in cells.values() for r in records])
    among = clusters(tests[0].group, tests[0].truth)
    measured = evaluate(tests, devs)
    values = np.stack([measured[metric].value for metric in METRICS])
    influence = np.stack([among.sums(measured[metric].influence) for metric in METRICS])
    begin = 0
    estimates = _estimates(values, influence, among, [len(records) for records in cells.values()])
    for (contender, records), each in zip(cells.items(), estimates, strict=True):
        mine = slice(begin, begin := begin + len(records))
        found.measured[contender] = _measured(records, values[:, mine], influence[:, mine], among)
        found.scores += _scores(board, task, contender, records, each, among.count)
        own = found.measured[contender]
        found.values |= {(contender, seed): v for seed, v in zip(own.seeds, own.values.tolist(), strict=True)}
    return found


def _answers(records: Sequence[Record]) -> tuple[list[Answers], list[Answers]]:
    both = [(r.test, r.dev) for r in records]
    tests, devs = ([rows for rows in side if isinstance(rows, Answers)] for side in zip(*both, strict=True))
    assert len(tests) == len(devs) == len(records)
    return tests, devs


def _measured(records: Sequence[Record], values: np.ndarray, influence: np.ndarray, among: Clusters) -> Measured:
    """values [metrics, S], influence [metrics, S, G]: the main metric's."""
    main = list(METRICS).index(MAIN["detect"])
    return Measured(_seeds(records), values[main], among.count, influence[main].copy(), among)


def _estimates(
    values: np.ndarray, influence: np.ndarray, among: Clusters, sizes: Sequence[int]
) -> list[list[Estimate]]:
    """Of each contender (`sizes`: its seeds) every metric; those of as many seeds in one go.

    values [metrics, all seeds of all contenders]; influence [metrics, all seeds, G].
    """
    begins = np.cumsum([0, *sizes])
    found: list[list[Estimate]] = [[] for _ in sizes]
    for size in set(sizes):
        mine = [i for i, n in enumerate(sizes) if n == size]
        seeds = np.concatenate([np.arange(begins[i], begins[i] + size) for i in mine])
        whole = len(mine) == len(sizes)  # of which no copy is made
        values_of, influence_of = (x if whole else x[:, seeds] for x in (values, influence))
        tops = np.repeat([most(name) for name in METRICS], len(mine)).tolist()
        flat = values_of.reshape(-1, size), influence_of.reshape(-1, size, among.count)  # metrics, then contenders
        each = each_over_seeds(*flat, among, tops)
        for place, i in enumerate(mine):
            found[i] = each[place :: len(mine)]
    return found


def _scores(
    board: Board, task: str, contender: str, records: Sequence[Record], estimates: Sequence[Estimate], groups: int
) -> list[Score]:
    """Of the metrics that have a number for every seed: not every task has subpopulations."""
    assert records[0].test is not None
    side, rows, spent = str(records[0].about["contender_family"]), len(records[0].test.id), _spent(records)
    return [
        Score(board, task, contender, side, name, estimate, len(records), rows, groups, *spent)
        for name, estimate in zip(METRICS, estimates, strict=True)
        if math.isfinite(estimate.value)
    ]


def _on_suite(board: Board, task: str, cells: Cells) -> Scored:
    """The same for a task of several parts: metrics within each part, the parts being the clusters."""
    found = Scored()
    parts = measures.by_part([r for records in cells.values() for r in records])
    begin = 0
    for contender, records in cells.items():
        mine = slice(begin, begin := begin + len(records))
        own = {metric: values[mine] for metric, values in parts.items()}
        main = own[MAIN[board.track]]
        known = int(np.isfinite(main).all(0).sum())
        found.measured[contender] = Measured(_seeds(records), _known_mean(main), known, parts=main)
        found.scores += _suite_scores(board, task, contender, records, own)
        found.values |= {(contender, r.cell.seed): measures.main(r.test) for r in records if r.test is not None}
    return found


def _suite_scores(
    board: Board, task: str, contender: str, records: Sequence[Record], parts: Mapping[str, np.ndarray]
) -> list[Score]:
    first, spent, scores = records[0], _spent(records), []
    assert first.test is not None
    for metric in measures.NAMES[board.track]:
        values = parts[metric]
        if board.track == "steer":  # of some parts the judge withholds what it cannot tell, for all contenders alike
            values = values[:, np.isfinite(values).all(0)]
        if not values.size or not np.isfinite(values).all():
            continue  # not every task has subpopulations, and not every record side effects
        scores.append(
            Score(
                board, task, contender, str(first.about["contender_family"]), metric, over_parts(values, most(metric)),
                len(records), len(first.test.id), values.shape[1], *spent,
            )
        )  # fmt: skip
    return scores


def _known_mean(parts: np.ndarray) -> np.ndarray:
    """Means over the parts [S, P] that every seed has, [S]; NaN where there are none."""
    known = parts[:, np.isfinite(parts).all(0)]
    return np.asarray(known.mean(1)) if known.size else np.full(len(parts), np.nan)


def over_all(board: Board, contender: str, mine: Sequence[Score], families: Mapping[str, str]) -> list[Score]:
    """A contender's means over the board's tasks; spend is summed over them."""
    by_metric: dict[str, list[Score]] = {}
    for score in mine:
        by_metric.setdefault(score.metric, []).append(score)
    tasks = len({score.task for score in mine})
    return [
        Score(
            board, "all", contender, s[0].family, metric,
            over_tasks([x.estimate for x in s], [families[x.task] for x in s], most(metric)),
            min(x.seeds for x in s), sum(x.n for x in s), sum(x.groups for x in s),
            sum(x.lm_tokens for x in s), sum(x.seconds for x in s),
        )
        for metric in measures.NAMES[board.track]
        if len(s := by_metric.get(metric, [])) == tasks  # aggregates over different tasks are never in one column
    ]  # fmt: skip


def _seeds(records: Sequence[Record]) -> tuple[int, ...]:
    return tuple(r.cell.seed for r in records)


def _spent(records: Sequence[Record]) -> tuple[float, float]:
    """LM tokens and seconds, means over the records."""
    totals = [r.spent["total"] for r in records]
    return sum(t["lm_tokens"] for t in totals) / len(totals), sum(t["seconds"] for t in totals) / len(totals)

"""The leaderboard, from records alone: one board per track, regime, budget, model and half.

Within a task a value is the mean over seeds, its interval for other examples and seeds. Aggregates are
given only to contenders that have every cell of the board; the others stand below with their coverage.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from results.measures import MAIN
from results.naming import Names
from results.record import Record, canonical, key
from results.scoring import on_task, over_all
from results.stats import Measured
from results.steering import judged
from results.table import PLAIN, Board, Margins, Score, Table


def build(records: Iterable[Record], margins: Margins | None = None) -> list[Table]:
    """The tables of some records, in a fixed order. margins: of the verdicts; None: conf/margins/fixed.yaml."""
    records = sorted(records, key=lambda r: r.key)
    tracks = sorted({r.cell.track for r in records})
    of_tracks = [[r for r in records if r.cell.track == track] for track in tracks]
    return [table for found in of_tracks for table in _of_track(found, margins or Margins())]


def _of_track(records: list[Record], margins: Margins) -> list[Table]:
    """A contender has other settings in another track, which is no reason to name them."""
    name = Names(records)
    boards: dict[Board, list[Record]] = {}
    for r in records:
        board = Board(
            r.cell.track, name("regime", r), name("budget", r), name("model", r), r.cell.half, name("judge", r)
        )
        boards.setdefault(board, []).append(r)

    def place(b: Board) -> tuple[bool, bool, int, str]:
        """The plain regime first, of that the half that decides, then what most was run on."""
        return b.regime != PLAIN, b.half != "lockbox", -len(boards[b]), repr(b)

    return [_table(board, boards[board], name, margins) for board in sorted(boards, key=place)]


def _table(board: Board, records: list[Record], name: Names, margins: Margins) -> Table:
    cells: dict[tuple[str, str], list[Record]] = {}
    for r in records:
        cells.setdefault((name("task", r), name("contender", r)), []).append(r)
    doubled: list[str] = []
    cells = {where: _one_each(where, found, doubled) for where, found in cells.items()}
    done = {where: [r for r in found if r.status == "ok"] for where, found in sorted(cells.items())}
    # A task that nobody answered compares nobody; its failures are listed all the same.
    tasks = sorted({task for (task, _), found in done.items() if found})
    contenders = sorted({contender for _, contender in cells})
    about = {name("contender", r): r for r in records}
    families = {name("task", r): str(r.about["task_family"]) for r in records if name("task", r) in tasks}
    by_task: dict[str, list[Record]] = {}
    for (task, _), found in sorted(cells.items()):
        by_task.setdefault(task, []).extend(found)
    coverage = {c: sum(len({r.cell.seed for r in done.get((t, c), [])}) for t in tasks) for c in contenders}
    due = sum(len({r.cell.seed for r in by_task[task]}) for task in tasks)
    scores: dict[str, list[Score]] = {c: [] for c in contenders}
    single: dict[tuple[str, str, int], tuple[float, float]] = {}
    measured: dict[tuple[str, str], Measured] = {}
    for task in tasks:
        mine = {c: done[task, c] for c in contenders if done.get((task, c))}
        reached = on_task(board, task, mine)
        measured |= {(task, c): each for c, each in reached.measured.items()}
        single |= {(task, c, r.cell.seed): (_dev(r), reached.values[c, r.cell.seed]) for c in mine for r in mine[c]}
        for score in reached.scores:
            scores[score.contender].append(score)
    for contender, own in scores.items():
        if own and coverage[contender] == due:
            own.extend(over_all(board, contender, own, families))
    every = [score for own in scores.values() for score in own]
    ranked = {s.contender: s.estimate.value for s in every if s.task == "all" and s.metric == MAIN[board.track]}
    return Table(
        board=board,
        margins=margins,
        tasks=tuple(tasks),
        families=families,
        contenders=tuple(sorted(contenders, key=lambda c: (c not in ranked, -ranked.get(c, 0.0), c))),
        coverage={c: (have, due) for c, have in coverage.items()},
        access={c: tuple(r.about["access"]) for c, r in about.items()},
        controls={c: r.about.get("control") for c, r in about.items()},
        scores=tuple(every),
        failures=(*(_failure(name, r) for r in records if r.status != "ok"), *doubled),
        cells=single,
        measured=measured,
        records={where: tuple(found) for where, found in sorted(cells.items())},
        known={t: told for t in tasks if (told := judged(by_task[t]))},
        curves={c: _curve([r for t in tasks for r in done.get((t, c), [])]) for c in contenders},
    )


def _failure(name: Names, record: Record) -> str:
    where = f"{name('task', record)} x {name('contender', record)}, seed {record.cell.seed}"
    return f"{where} ({record.status}): {record.error}"


def _one_each(where: tuple[str, str], records: list[Record], doubled: list[str]) -> list[Record]:
    """One record of each seed: where there are several, one whose key is that of its cell; `doubled` tells of it."""
    seeds: dict[int, list[Record]] = {}
    for r in records:
        seeds.setdefault(r.cell.seed, []).append(r)
    if len(seeds) == len(records):
        return records
    kept = []
    for seed, found in seeds.items():
        kept.append(found[0] if len(found) == 1 else min(found, key=lambda r: (key(r.cell) != r.key, r.key)))
        if len(found) > 1:
            task, contender = where
            doubled.append(
                f"{task} x {contender}, seed {seed}: {len(found)} records of this cell, of which one counts "
                f"({kept[-1].key[:12]}); `fairfight store check` says which are wrong"
            )
    return kept


def _curve(records: Sequence[Record]) -> tuple[tuple[float, float], ...]:
    """Damage and selection's score of each trial, means over concepts and cells, the mildest first; none elsewhere."""
    found: dict[str, list[tuple[float, float]]] = {}
    for trial in (trial for r in records for trial in r.trials if "damage" in trial):
        if trial["dev_score"] is not None:
            found.setdefault(canonical(trial["params"]), []).append(
                (float(np.mean(trial["damage"])), float(trial["dev_score"]))
            )
    means = [np.mean(values, axis=0).tolist() for values in found.values()]
    return tuple((x, y) for x, y in sorted(means))


def _dev(record: Record) -> float:
    """The main metric of the chosen trial where it was chosen: shared folds, or instructions."""
    return float("nan") if record.dev_score is None else record.dev_score

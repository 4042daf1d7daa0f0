"""The leaderboard, from records alone: one board per track, regime, budget, model and half.

Within a task a value is the mean over seeds, its interval for other examples and seeds. Aggregates are
given only to contenders that have every cell of the board; the others stand below with their coverage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from results import measures
from results.measures import MAIN
from results.metrics import METRICS, evaluate
from results.record import Answers, Record, Steered, canonical
from results.stats import (
    Estimate,
    Measured,
    clusters,
    difference,
    over_parts,
    over_seeds,
    over_tasks,
    paired,
)
from results.steering import DAMAGE, ELSEWHERE, PERPLEXITY, judged

FIELDS = (
    "track", "task", "regime", "model", "contender", "family", "metric", "value", "low", "high", "seeds", "n",
    "budget", "half", "groups", "lm_tokens", "seconds",
)  # fmt: skip
VERSUS = {"detect": "linear_probe", "steer": "prompt_steering"}  # what every contender is laid beside
UNTOUCHED = "no_intervention"
PLAIN = "standard"  # the regime whose boards come first
CHANCE = 0.5  # of the AUROC, whatever the classes' shares


@dataclass(frozen=True)
class Board:
    """What may be compared: cells that differ in task, contender and seed alone."""

    track: str
    regime: str
    budget: str
    model: str
    half: str
    judge: str = ""  # of what steered models say


@dataclass(frozen=True)
class Score:
    """One contender on one task (or on all): a metric's estimate and what it took."""

    board: Board
    task: str
    contender: str
    family: str
    metric: str
    estimate: Estimate
    seeds: int
    n: int
    groups: int
    lm_tokens: float  # per cell: selection, fit and queries, as if standing alone
    seconds: float

    def row(self) -> dict[str, Any]:
        b, e = self.board, self.estimate
        values = (
            b.track, self.task, b.regime, b.model, self.contender, self.family, self.metric, _round(e.value),
            _round(e.low), _round(e.high), self.seeds, self.n, b.budget, b.half, self.groups,
            round(self.lm_tokens, 1), round(self.seconds, 2),
        )  # fmt: skip
        return dict(zip(FIELDS, values, strict=True))


@dataclass(frozen=True)
class Table:
    """A board's scores, who is complete, and the cells that are missing or failed."""

    board: Board
    tasks: tuple[str, ...]
    families: Mapping[str, str]  # of tasks
    contenders: tuple[str, ...]  # complete ones by mean AUROC, then the others
    coverage: Mapping[str, tuple[int, int]]  # cells that are ok, cells of the board
    access: Mapping[str, tuple[str, ...]]
    controls: Mapping[str, str | None]  # the matched control that a contender names
    scores: tuple[Score, ...]
    failures: tuple[str, ...]
    cells: Mapping[tuple[str, str, int], tuple[float, float]]  # task, contender, seed -> score where chosen, on test
    curves: Mapping[str, tuple[tuple[float, float], ...]]  # steerer -> damage and selection's score of each trial
    measured: Mapping[tuple[str, str], Measured]  # task, contender -> the main metric, seed by seed
    records: Mapping[tuple[str, str], tuple[Record, ...]]  # task, contender -> its cells, whatever became of them
    known: Mapping[str, Mapping[str, float]]  # task -> what the judge makes of texts of known quality, and `withheld`

    def complete(self, contender: str) -> bool:
        have, of = self.coverage.get(contender, (0, 0))
        return have == of > 0

    def complete_ones(self, family: str) -> tuple[str, ...]:
        """Contenders of a family that have every cell, by name: their rank on the test has no say."""
        return tuple(c for c, of in sorted(self.sides.items()) if of == family and self.complete(c))

    def control_of(self, method: str) -> str | None:
        """The matched control, of the same dictionaries where there are several; None where cells of it are missing."""
        named = self.controls.get(method)
        labels = [f"{named}{''.join(method.partition(' [')[1:])}", named]
        return next((label for label in labels if label in self.contenders and self.complete(label)), None)

    def against(self, contender: str, other: str) -> tuple[float, float, float] | None:
        """Mean score of a contender less that of another over the board's families (of a single suite: its concepts),
        with a 95 % interval; None where one of them lacks cells."""
        pairs = [(self.find(task, contender), self.find(task, other)) for task in self.tasks]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        whole = self.complete(contender) and self.complete(other)
        if contender == other or not whole or len(both) < len(self.tasks):
            return None
        one, two = (self.measured[self.tasks[0], name] for name in (contender, other))
        if len(self.tasks) == 1 and one.parts is not None and two.parts is not None:
            known = np.isfinite(one.parts).all(0) & np.isfinite(two.parts).all(0)
            mine, others = one.parts[:, known].mean(0), two.parts[:, known].mean(0)
            return difference(mine, others, [str(concept) for concept in range(known.sum())])
        return difference(
            np.array([a.estimate.value for a, _ in both]),
            np.array([b.estimate.value for _, b in both]),
            [self.families[task] for task in self.tasks],
        )

    @cached_property
    def sides(self) -> Mapping[str, str]:
        """Contender -> method, baseline or control, of those that have a result."""
        return {s.contender: s.family for s in self.scores}

    @property
    def main(self) -> str:
        """The metric that ranks."""
        return MAIN[self.board.track]

    def find(self, task: str, contender: str, metric: str | None = None) -> Score | None:
        """A contender's score on a task (`all`: the aggregate), by the main metric or another."""
        return self._scores.get((task, contender, metric or self.main))

    def gap(self, task: str, one: str, two: str) -> Estimate | None:
        """The main metric of a contender less that of another on a task's test rows; None without a seed in common."""
        if (task, one, two) not in self._gaps:
            self._gaps[task, one, two] = paired(self.measured[task, one], self.measured[task, two])
        return self._gaps[task, one, two]

    def dev(self, task: str, contender: str) -> float:
        """What the chosen trials reached where they were chosen, mean over seeds; NaN where nothing is known."""
        return self._dev.get((task, contender), float("nan"))

    @cached_property
    def _scores(self) -> Mapping[tuple[str, str, str], Score]:
        return {(s.task, s.contender, s.metric): s for s in self.scores}

    @cached_property
    def _gaps(self) -> dict[tuple[str, str, str], Estimate | None]:
        return {}

    @cached_property
    def _dev(self) -> Mapping[tuple[str, str], float]:
        values: dict[tuple[str, str], list[float]] = {}
        for (task, contender, _), (dev, _) in self.cells.items():
            values.setdefault((task, contender), []).append(dev)
        return {where: float(np.mean(found)) for where, found in values.items()}


def build(records: Iterable[Record]) -> list[Table]:
    """The tables of some records, in a fixed order."""
    records = sorted(records, key=lambda r: r.key)
    tracks = sorted({r.cell.track for r in records})
    return [table for track in tracks for table in _of_track([r for r in records if r.cell.track == track])]


def _of_track(records: list[Record]) -> list[Table]:
    """A contender has other settings in another track, which is no reason to name them."""
    name = _Names(records)
    boards: dict[Board, list[Record]] = {}
    for r in records:
        board = Board(
            r.cell.track, name("regime", r), name("budget", r), name("model", r), r.cell.half, name("judge", r)
        )
        boards.setdefault(board, []).append(r)
    plain_first = sorted(boards, key=lambda b: (b.regime != PLAIN, repr(b)))
    return [_table(board, boards[board], name) for board in plain_first]


def _table(board: Board, records: list[Record], name: _Names) -> Table:
    cells: dict[tuple[str, str], list[Record]] = {}
    for r in records:
        cells.setdefault((name("task", r), name("contender", r)), []).append(r)
    # A task that nobody answered compares nobody; its failures are listed all the same.
    tasks = sorted({task for (task, _), found in cells.items() if any(r.status == "ok" for r in found)})
    contenders = sorted({contender for _, contender in cells})
    about = {name("contender", r): r for r in records}
    families = {name("task", r): str(r.about["task_family"]) for r in records}
    by_task: dict[str, list[Record]] = {}
    for (task, _), found_here in sorted(cells.items()):
        by_task.setdefault(task, []).extend(found_here)
    seeds = {task: {r.cell.seed for r in by_task[task]} for task in tasks}
    due = sum(len(s) for s in seeds.values())
    scores: list[Score] = []
    coverage = {}
    single: dict[tuple[str, str, int], tuple[float, float]] = {}
    measured: dict[tuple[str, str], Measured] = {}
    for contender in contenders:
        ok = {t: [r for r in cells.get((t, contender), []) if r.status == "ok"] for t in tasks}
        coverage[contender] = (sum(len({r.cell.seed for r in found}) for found in ok.values()), due)
        found = {t: _scores(board, t, contender, ok[t]) for t in tasks if ok[t]}
        mine = [s for own, _ in found.values() for s in own]
        measured |= {(t, contender): each for t, (_, each) in found.items()}
        scores += mine
        single |= {(t, contender, r.cell.seed): _dev_and_test(r) for t in tasks for r in ok[t]}
        if mine and coverage[contender][0] == due:
            scores += _aggregate(board, contender, mine, families)
    ranked = {s.contender: s.estimate.value for s in scores if s.task == "all" and s.metric == MAIN[board.track]}
    return Table(
        board=board,
        tasks=tuple(tasks),
        families=families,
        contenders=tuple(sorted(contenders, key=lambda c: (c not in ranked, -ranked.get(c, 0.0), c))),
        coverage=coverage,
        access={c: tuple(r.about["access"]) for c, r in about.items()},
        controls={c: r.about.get("control") for c, r in about.items()},
        scores=tuple(scores),
        failures=tuple(
            f"{name('task', r)} x {name('contender', r)}, seed {r.cell.seed} ({r.status}): {r.error}"
            for r in records
            if r.status != "ok"
        ),
        cells=single,
        measured=measured,
        records={where: tuple(found) for where, found in sorted(cells.items())},
        known={t: told for t in tasks if (told := judged(by_task[t]))},
        curves={c: _curve([r for t in tasks for r in cells.get((t, c), []) if r.status == "ok"]) for c in contenders},
    )


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


def _dev_and_test(record: Record) -> tuple[float, float]:
    """The main metric of the chosen trial where it was chosen (shared folds, or instructions), and on the test."""
    assert record.test is not None
    dev = record.dev_score
    return float("nan") if dev is None else dev, measures.main(record.test)


def _scores(board: Board, task: str, contender: str, records: list[Record]) -> tuple[list[Score], Measured]:
    """Every metric of one contender on one task over its seeds, and the main one seed by seed."""
    first = records[0]
    assert first.test is not None
    if isinstance(first.test, Steered) or len(set(first.test.part)) > 1:
        return _suite_scores(board, task, contender, records)
    among = clusters(first.test.group, first.test.truth)
    values: dict[str, list[float]] = {m: [] for m in METRICS}
    influence: dict[str, list[np.ndarray]] = {m: [] for m in METRICS}
    for r in records:
        assert isinstance(r.test, Answers)
        assert isinstance(r.dev, Answers)
        for metric, measured in evaluate(r.test, r.dev).items():
            values[metric].append(float(measured.value[0]))
            influence[metric].append(among.sums(measured.influence[0]))
    found = [
        Score(
            board, task, contender, str(first.about["contender_family"]), metric,
            over_seeds(np.array(values[metric]), np.array(influence[metric]), among),
            len(records), len(first.test.id), among.count,
            _mean_spent(records, "lm_tokens"), _mean_spent(records, "seconds"),
        )
        for metric in METRICS
        if np.isfinite(values[metric]).all()  # not every task has subpopulations
    ]  # fmt: skip
    main = MAIN[board.track]
    return found, Measured(_seeds(records), np.array(values[main]), among.count, np.array(influence[main]), among)


def _suite_scores(board: Board, task: str, contender: str, records: list[Record]) -> tuple[list[Score], Measured]:
    """The same for a task of several parts: metrics within each part, the parts being the clusters."""
    found = [measures.by_part(r) for r in records]
    first = records[0]
    assert first.test is not None
    scores = []
    for metric in measures.NAMES[board.track]:
        values = np.stack([f[metric] for f in found])
        if metric in ELSEWHERE:  # older records lack it
            values = values[np.isfinite(values).any(1)]
        if board.track == "steer":  # of some parts the judge withholds what it cannot tell, for all contenders alike
            values = values[:, np.isfinite(values).all(0)]
        if not values.size or not np.isfinite(values).all():
            continue  # not every task has subpopulations
        scores.append(
            Score(
                board, task, contender, str(first.about["contender_family"]), metric, over_parts(values, most(metric)),
                len(records), len(first.test.id), values.shape[1],
                _mean_spent(records, "lm_tokens"), _mean_spent(records, "seconds"),
            )
        )  # fmt: skip
    main = np.stack([f[MAIN[board.track]] for f in found])
    return scores, Measured(_seeds(records), _known_mean(main), int(np.isfinite(main).all(0).sum()), parts=main)


def _known_mean(parts: np.ndarray) -> np.ndarray:
    """Means over the parts [S, P] that every seed has, [S]; NaN where there are none."""
    known = parts[:, np.isfinite(parts).all(0)]
    return np.asarray(known.mean(1)) if known.size else np.full(len(parts), np.nan)


def _seeds(records: Sequence[Record]) -> tuple[int, ...]:
    return tuple(r.cell.seed for r in records)


def _aggregate(board: Board, contender: str, mine: Sequence[Score], families: Mapping[str, str]) -> list[Score]:
    """Means over the board's tasks; spend is summed over them."""
    found = []
    for metric in measures.NAMES[board.track]:
        s = [x for x in mine if x.metric == metric]
        if len(s) < len({x.task for x in mine}):
            continue  # aggregates over different tasks are never put in one column
        found.append(
            Score(
                board, "all", contender, s[0].family, metric,
                over_tasks([x.estimate for x in s], [families[x.task] for x in s], most(metric)),
                min(x.seeds for x in s), sum(x.n for x in s), sum(x.groups for x in s),
                sum(x.lm_tokens for x in s), sum(x.seconds for x in s),
            )
        )  # fmt: skip
    return found


def most(metric: str) -> float:
    """What a metric cannot exceed."""
    return np.inf if metric in (DAMAGE, PERPLEXITY) else 1.0


def _mean_spent(records: list[Record], what: str) -> float:
    return float(np.mean([r.spent["total"][what] for r in records]))


class _Names:
    """Short names for what cells are made of; where one name has several identities, what differs is added."""

    def __init__(self, records: Sequence[Record]) -> None:
        found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
        for r in records:
            for kind in ("task", "contender", "regime", "budget", "model", "judge"):
                identity = _identity(kind, r)
                found.setdefault((kind, _name(kind, r)), {})[canonical(identity)] = _told(_flat(identity), r)
        self._told: dict[tuple[str, int], str] = {}  # of records that the caller holds
        self._labels: dict[tuple[str, str, str], str] = {}
        for (kind, name), variants in found.items():
            names = {k for flat in variants.values() for k in flat}
            differing = sorted(k for k in names if len({flat.get(k) for flat in variants.values()}) > 1)
            for which, flat in variants.items():
                extra = ", ".join(f"{k}={flat.get(k, '-')[:40]}" for k in differing)
                self._labels[kind, name, which] = f"{name} [{extra}]" if extra else name

    def __call__(self, kind: str, record: Record) -> str:
        where = kind, id(record)
        if where not in self._told:
            self._told[where] = self._labels[kind, _name(kind, record), canonical(_identity(kind, record))]
        return self._told[where]


def _told(flat: dict[str, str], record: Record) -> dict[str, str]:
    """Contents of dictionaries by where they lay and the beginning of their hash: nobody knows a hash."""
    places = record.about.get("dictionaries") or {}
    return {
        k: f"{places.get(k.removeprefix('dictionary '), '')}#{v.strip(chr(34))[:6]}"
        if k.startswith("dictionary ")
        else v
        for k, v in flat.items()
    }


def _identity(kind: str, record: Record) -> Mapping[str, Any]:
    identity: Mapping[str, Any] = getattr(record.cell, kind) or {"name": ""}
    # A dictionary that was trained anew makes another contender, whatever its name.
    return {**identity, **record.cell.contents} if kind == "contender" else identity


def _name(kind: str, record: Record) -> str:
    return str(record.about["model"] if kind == "model" else _identity(kind, record)["name"])


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Leaves of nested mappings by their last key, or by their path where it is ambiguous."""
    if not isinstance(value, Mapping):
        return {prefix: canonical(value)}
    leaves: dict[str, str] = {}
    for k, v in value.items():
        leaves |= _flat(v, f"{prefix}.{k}" if prefix and prefix not in {"params"} else str(k))
    return leaves


def floor_of(t: Table, task: str) -> float:
    """Chance, or in track `steer` what the model does by itself."""
    if t.board.track != "steer":
        return CHANCE
    untouched = t.find(task, UNTOUCHED)
    return untouched.estimate.value if untouched else 0.0


def at_floor(t: Table) -> list[str]:
    """Tasks that were prompted and where no prompting contender's interval lies above the floor: chance, or in track
    `steer` what the model does by itself."""
    prompting = [
        c for c, access in t.access.items() if "description" in access and not {"internals", "gradients"} & set(access)
    ]
    found = []
    for task in t.tasks:
        asked = [s for c in prompting if (s := t.find(task, c)) is not None and s.family == "baseline"]
        floor = floor_of(t, task)
        if asked and all(s.estimate.low is None or s.estimate.low <= floor for s in asked):
            found.append(task)
    return found


def _round(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 6)

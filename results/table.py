"""What a leaderboard is made of: boards, scores, and the table of a board with what may be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np

from results.measures import MAIN
from results.record import Record
from results.stats import FEWEST_FAMILIES, FEWEST_FOR_INTERVAL, Estimate, Measured, all_paired, difference, paired

FIELDS = (
    "track", "task", "regime", "model", "contender", "family", "metric", "value", "low", "high", "seeds", "n",
    "budget", "half", "groups", "lm_tokens", "seconds",
)  # fmt: skip
VERSUS = {"detect": "linear_probe", "steer": "prompt_steering"}  # what every contender is laid beside
UNTOUCHED = "no_intervention"
AT_FLOOR = {  # what it means
    "detect": "no prompt's interval lies above chance",
    "steer": "no prompt is shown to lie above what the model does by itself",
}
PROTOCOL = "fairfight"  # regimes of other protocols split in ways of their own
PLAIN = "standard"  # the regime whose boards come first, and that others are laid beside
CHANCE = 0.5  # of the AUROC, whatever the classes' shares


T = TypeVar("T")


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
class Margins:
    """Differences that do not matter, fixed before the first run."""

    task: float = 0.02
    suite: float = 0.01


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
    lm_tokens: float  # per cell: selection, fit and queries as if standing alone, what two of them read once
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
    margins: Margins  # of the verdicts
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
    filtered: str = ""  # what of the store is left out, where that changes verdicts

    @property
    def labels(self) -> int | None:
        """How many labels the regime gives; None where it differs from others in more than that."""
        regimes = [r.cell.regime for records in self.records.values() for r in records]
        found = {int(r["labels"]) for r in regimes if r.get("labels")}
        marred = any(r.get("noise") or r.get("positive") is not None or r.get("shift") for r in regimes)
        foreign = any(r.get("protocol", PROTOCOL) != PROTOCOL for r in regimes)
        return found.pop() if len(found) == 1 and not marred and not foreign else None

    def complete(self, contender: str) -> bool:
        have, of = self.coverage.get(contender, (0, 0))
        return have == of > 0

    def complete_on(self, task: str, contender: str) -> bool:
        """Whether a contender answered a task with every seed that anybody did."""
        mine = self.measured.get((task, contender))
        return mine is not None and set(self.seeds(task)) <= set(mine.seeds)

    def complete_ones(self, family: str) -> tuple[str, ...]:
        """Contenders of a family that have every cell, by name: their rank on the test has no say."""
        return tuple(c for c, of in sorted(self.sides.items()) if of == family and self.complete(c))

    def control_of(self, method: str) -> str | None:
        """The matched control, with the method's own hyperparameters where several wrap it; None where cells of it are
        missing."""
        named, variant = self.controls.get(method), method.partition(" [")[2]
        found = [c for c in self.contenders if c == named or c.startswith(f"{named} [")]
        mine = [c for c in found if self._wraps(c, method)]  # of no wrapper: who is named alike, or the only one
        mine = mine or [c for c in found if variant and c.endswith(f" [{variant}")] or found[: len(found) == 1]
        return next((label for label in mine if self.complete(label)), None)

    def _wraps(self, control: str, method: str) -> bool:
        """Whether a control's cells wrap just what a method's cells are, dictionaries included."""
        cells = {c: rs[0].cell for (_, c), rs in self.records.items() if c in (control, method) and rs}
        if len(cells) < 2:
            return False
        wrapper, own = cells[control].contender, cells[method].contender
        inner = {k.removeprefix("of."): v for k, v in wrapper["params"].items() if k.startswith("of.")}
        grid = {k.removeprefix("of."): v for k, v in wrapper["grid"].items()}
        same = bool(inner) and all(inner.get(k) == v for k, v in own["params"].items()) and grid == own["grid"]
        return same and cells[control].contents == cells[method].contents

    def against(self, contender: str, other: str, without: Sequence[str] = ()) -> tuple[float, float, float] | None:
        """Mean score of a contender less that of another over the board's families (of a single suite: its concepts),
        with a 95 % interval; None where one of them lacks cells. `without` are tasks that are left out."""
        tasks = [task for task in self.tasks if task not in without]
        pairs = [(self.find(task, contender), self.find(task, other)) for task in tasks]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        whole = self.complete(contender) and self.complete(other)
        if contender == other or not whole or not tasks or len(both) < len(tasks):
            return None
        if len(tasks) == 1 and self.measured[tasks[0], contender].parts is not None:
            e = self.gap(tasks[0], contender, other)
            few = self.measured[tasks[0], contender].groups < FEWEST_FAMILIES
            return None if e is None or e.low is None or e.high is None or few else (e.value, e.low, e.high)
        return difference(
            np.array([a.estimate.value for a, _ in both]),
            np.array([b.estimate.value for _, b in both]),
            [self.families[task] for task in tasks],
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

    def value(self, task: str, contender: str) -> float:
        """The main metric on a task; NaN where it is not known."""
        found = self.find(task, contender)
        return found.estimate.value if found else float("nan")

    def over_seeds(self, task: str, contender: str) -> list[float]:
        """The main metric within each part of a suite, mean over seeds; none where a task has no parts."""
        mine = self.measured.get((task, contender))
        return [] if mine is None or mine.parts is None else [float(x) for x in mine.parts.mean(0)]

    def gap(self, task: str, one: str, two: str) -> Estimate | None:
        """The main metric of a contender less that of another on a task's test rows; None without a seed in common."""
        return self.once(("gap", task, one, two), lambda: paired(self.measured[task, one], self.measured[task, two]))

    def compare(self, task: str, pairs: Sequence[tuple[str, str]]) -> None:
        """Derives the gaps of many pairs at once, for `gap` to find."""
        new = [pair for pair in pairs if ("gap", task, *pair) not in self._derived]
        if new:
            found = all_paired([(self.measured[task, one], self.measured[task, two]) for one, two in new])
            self._derived.update({("gap", task, *pair): e for pair, e in zip(new, found, strict=True)})

    def dev(self, task: str, contender: str) -> float:
        """What the chosen trials reached where they were chosen, mean over seeds; NaN where nothing is known."""
        return self._dev.get((task, contender), float("nan"))

    @cached_property
    def _scores(self) -> Mapping[tuple[str, str, str], Score]:
        return {(s.task, s.contender, s.metric): s for s in self.scores}

    def on(self, task: str) -> Sequence[Score]:
        """Every contender's scores on a task, by every metric."""
        return self._by_task.get(task, ())

    def parts(self, task: str) -> tuple[str, ...]:
        """The parts of a suite (its concepts), in the order of `measured`; of any other task its single one."""
        tests = (r.test for c in self.contenders for r in self.records.get((task, c), ()))
        return next((tuple(dict.fromkeys(test.part)) for test in tests if test is not None), ())

    def seeds(self, task: str) -> Sequence[int]:
        """Those with which anybody answered a task."""
        return self._seeds.get(task, ())

    def once(self, what: Hashable, derive: Callable[[], T]) -> T:
        """What follows from the table, derived the first time that anybody asks for it."""
        if what not in self._derived:
            self._derived[what] = derive()
        return cast("T", self._derived[what])

    @cached_property
    def _derived(self) -> dict[Hashable, object]:
        return {}

    @cached_property
    def _by_task(self) -> Mapping[str, list[Score]]:
        found: dict[str, list[Score]] = {}
        for score in self.scores:
            found.setdefault(score.task, []).append(score)
        return found

    @cached_property
    def _seeds(self) -> Mapping[str, list[int]]:
        found: dict[str, set[int]] = {}
        for task, _, seed in self.cells:
            found.setdefault(task, set()).add(seed)
        return {task: sorted(seeds) for task, seeds in found.items()}

    @cached_property
    def _dev(self) -> Mapping[tuple[str, str], float]:
        values: dict[tuple[str, str], list[float]] = {}
        for (task, contender, _), (dev, _) in self.cells.items():
            values.setdefault((task, contender), []).append(dev)
        return {where: float(np.mean(found)) for where, found in values.items()}


def floor_of(t: Table, task: str) -> float:
    """Chance, or in track `steer` what the model does by itself."""
    if t.board.track != "steer":
        return CHANCE
    untouched = t.find(task, UNTOUCHED)
    return untouched.estimate.value if untouched else 0.0


def prompting(t: Table) -> tuple[str, ...]:
    """Contenders that go by what they are told, without the model's inside."""
    inside = {"internals", "gradients"}
    return tuple(c for c, access in t.access.items() if "description" in access and not inside & set(access))


def at_floor(t: Table) -> list[str]:
    """Tasks that were prompted and where no prompting contender is shown to lie above the floor: chance, or in track
    `steer` what the model does by itself."""
    return t.once("at_floor", lambda: _at_floor(t))


def _at_floor(t: Table) -> list[str]:
    found = []
    for task in t.tasks:
        asked = [s for c in prompting(t) if (s := t.find(task, c)) is not None and s.family == "baseline"]
        if asked and not any(_clears(t, s) for s in asked):
            found.append(task)
    return found


def _clears(t: Table, asked: Score) -> bool:
    """Whether the interval lies above the floor; a score too near perfection for an interval does.

    Where the floor is another contender's, the same rows are asked of both: the interval of the difference counts.
    """
    measured = {(asked.task, c) for c in (asked.contender, UNTOUCHED)}
    gap = t.gap(asked.task, asked.contender, UNTOUCHED) if measured <= t.measured.keys() else None
    if t.board.track == "steer" and gap is not None and gap.low is not None:
        return gap.low > 0
    e, floor = asked.estimate, floor_of(t, asked.task)
    return e.low > floor if e.low is not None else e.effective < FEWEST_FOR_INTERVAL and e.value > (1 + floor) / 2


def _round(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 6)

"""What the published records give for docs/findings.md: scores by board, and the rows of the stores beside it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from results import leaderboard
from results.metrics import mean_auroc
from results.record import Answers, Record
from results.stats import difference, paired
from results.store import Store
from results.table import Table, at_floor
from results.verdicts import FLOORS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "findings.md"
PUBLISHED = ROOT / "results" / "published"


class Scores:
    """Mean test AUROC over seeds of one regime's cells, and differences over the tasks of the contenders in question.

    `of` names a contender whose tasks count (None: all of the regime); `without` are tasks that do not.
    """

    def __init__(
        self,
        cells: dict[tuple[str, str], float],
        families: dict[str, str],
        of: str | None = None,
        without: Sequence[str] = (),
    ) -> None:
        self.cells, self.families = cells, families
        self.tasks = sorted({task for name, task in cells if of in (None, name)} - set(without))
        names = sorted({name for name, _ in cells})
        self.complete = [n for n in names if all((n, task) in cells for task in self.tasks)]

    def of(self, name: str) -> np.ndarray:
        return np.array([self.cells[name, task] for task in self.tasks])

    def mean(self, name: str) -> str:
        return f"{self.of(name).mean():.3f}"

    def gap(self, name: str, other: str) -> str:
        found = difference(self.of(name), self.of(other), [self.families[task] for task in self.tasks])
        assert found is not None
        return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*found)


def public() -> Iterator[Record]:
    """The records that most of the page speaks of."""
    return (
        r for r in Store(PUBLISHED / "core").records() if (r.cell.half, r.cell.budget["name"]) == ("public", "small")
    )


Boards = dict[tuple[str, str], Scores]


@functools.cache
def boards() -> Boards:
    """Scores by regime and by the contender whose tasks count (``: all)."""
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    families: dict[str, str] = {}
    for record in public():
        if record.status == "ok" and isinstance(record.test, Answers):
            task = record.cell.task["name"]
            families[task] = str(record.about["task_family"])
            cells = found.setdefault(record.cell.regime["name"], {})
            cells.setdefault((record.cell.contender["name"], task), []).append(mean_auroc(record.test))
    made: Boards = {}
    for regime, every in found.items():
        seeds = max(map(len, every.values()))
        whole = {cell: float(np.mean(values)) for cell, values in every.items() if len(values) == seeds}
        for of in ("", "mass_mean", "sae_probe", "zero_shot", "few_shot"):
            if not of or any(name == of for name, _ in whole):
                # What is said of prompting leaves out the tasks where it tells nothing.
                silent = at_floor(board("core")) if regime == "standard" and of in ("zero_shot", "few_shot") else ()
                made[regime, of] = Scores(whole, families, of or None, silent)
    return made


@functools.cache
def board(store: str, regime: str = "standard", budget: str = "small", tasks: tuple[str, ...] = ()) -> Table:
    """The public board of a published store."""
    (found,) = leaderboard.build(
        r
        for r in Store(PUBLISHED / store).records()
        if (r.cell.half, r.cell.regime["name"], r.cell.budget["name"]) == ("public", regime, budget)
        and (not tasks or r.cell.task["name"] in tasks)
    )
    return found


def shown(t: Table, task: str, contender: str) -> float:
    found = t.find(task, contender)
    assert found is not None
    return found.estimate.value


def answers(rows: object) -> Answers:
    assert isinstance(rows, Answers)
    return rows


def said(gap: tuple[float, float, float] | None) -> str:
    return "–" if gap is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*gap)


def shifts() -> dict[str, list[str]]:
    """Means over families of the rows asked where it was trained and elsewhere, and what lies between."""
    here, there = board("shifts"), board("shifts", "shifted")
    families = [there.families[task] for task in there.tasks]
    rows = {}
    for c in there.contenders:
        each = [np.array([shown(t, task, c) for task in there.tasks]) for t in (there, here)]
        means = [f"{shown(t, 'all', c):.3f}" for t in (here, there)]
        rows[c] = [c, *means, said(difference(*each, families)), said(there.against(c, "linear_probe"))]
    return rows


@functools.cache
def by_trials() -> dict[str, np.ndarray]:
    """[untuned, 4, 10 and 30 trials; tasks] of each contender that is no floor, the best with 30 first."""
    many, ten = (board("trials", budget=f"trials_{n}") for n in (30, 10))
    few = board("core", tasks=many.tasks)
    found = {}
    for c in (c for c in many.contenders if c not in FLOORS["detect"] or c == "bag_of_words"):
        first = [np.mean([mean_auroc(answers(r.untuned)) for r in many.records[task, c]]) for task in many.tasks]
        found[c] = np.array([first, *([shown(t, task, c) for task in many.tasks] for t in (few, ten, many))])
    return found


def trials() -> dict[str, list[str]]:
    """Means over three tasks with nothing tuned, with 4, 10 and 30 trials."""
    rows = {}
    for c, (untuned, some, more, most) in by_trials().items():
        means = [f"{x.mean():.3f}" for x in (untuned, some, more, most)]
        rows[c] = [c, *means, *(f"{x:+.3f}" for x in most - some)]
    return rows


def knows() -> dict[str, list[str]]:
    t = board("knows")
    rows = {}
    for c in t.contenders:
        e = paired(t.measured["knows", c], t.measured["knows", "own_confidence"])
        gap = (
            None if c == "own_confidence" or e is None or e.low is None or e.high is None else (e.value, e.low, e.high)
        )
        rows[c] = [c, f"{shown(t, 'knows', c):.3f}", said(gap)]
    return rows


def lora() -> dict[str, list[str]]:
    """Finetuned, beside the probe of the same 512 labels; over tasks last."""
    tuned, probed = board("core", budget="finetune"), board("core")
    pairs = [[shown(t, task, c) for t, c in ((tuned, "lora"), (probed, "linear_probe"))] for task in tuned.tasks]
    rows = {t: [t, f"{a:.3f}", f"{b:.3f}", f"{a - b:+.3f}"] for t, (a, b) in zip(tuned.tasks, pairs, strict=True)}
    means = np.array(pairs)
    gap = said(difference(means[:, 0], means[:, 1], [tuned.families[task] for task in tuned.tasks]))
    return rows | {"mean": ["mean", *(f"{mean:.3f}" for mean in means.mean(0)), gap]}


ELSEWHERE = {"lora": lora, "shifts": shifts, "trials": trials, "knows": knows}

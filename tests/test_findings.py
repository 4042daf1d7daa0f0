"""Every number of docs/findings.md is what the published records give."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from results import leaderboard
from results.matched import NATS, matched
from results.metrics import mean_auroc
from results.quiver import quivers
from results.record import Answers, Record
from results.stats import difference, paired
from results.store import Store
from results.table import Table, at_floor

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "findings.md"
GAP = re.compile(r"[+-]0\.\d{3} \[[+-]0\.\d{3}, [+-]0\.\d{3}\]")

pytestmark = pytest.mark.slow


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


def public(store: Path) -> Iterator[Record]:
    """The records that the page speaks of."""
    return (r for r in Store(store).records() if (r.cell.half, r.cell.budget["name"]) == ("public", "small"))


Boards = dict[tuple[str, str], Scores]


def boards(store: Path) -> Boards:
    """Scores by regime and by the contender whose tasks count (``: all)."""
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    families: dict[str, str] = {}
    for record in public(store):
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


@pytest.fixture(scope="module")
def scores() -> Boards:
    return boards(ROOT / "results" / "published" / "core")


def tables() -> Iterator[tuple[tuple[str, str], list[str], list[list[str]]]]:
    """The page's tables: regime and tasks as the comment before says, the header, the rows."""
    for regime, of, table in re.findall(r"<!-- (\w+)(?:, tasks of (\w+))? -->\n+((?:\|.*\n)+)", PAGE.read_text()):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
        yield (regime, of), rows[0], rows[2:]


def test_the_tables(scores: Boards) -> None:
    checked = 0
    for board, header, rows in tables():
        known = scores[board]
        if header[:2] == ["contender", "mean AUROC"]:
            other = header[2].removeprefix("less ")
            expected = [[n, known.mean(n), "–" if n == other else known.gap(n, other)] for n, *_ in rows]
            assert [float(row[1]) for row in rows] == sorted((float(row[1]) for row in rows), reverse=True)
        else:
            assert header == ["method", "control", "method less control"]
            expected = [[n, other, known.gap(n, other)] for n, other, _ in rows]
        assert rows == expected
        checked += len(rows)
    assert checked > 20
    assert len(list(tables())) + len(ELSEWHERE) == len(re.findall(r"^\|[-|]+\|$", PAGE.read_text(), re.M))


def board(store: str, regime: str = "standard", budget: str = "small", tasks: Sequence[str] = ()) -> Table:
    """The public board of a published store."""
    (found,) = leaderboard.build(
        r
        for r in Store(ROOT / "results" / "published" / store).records()
        if (r.cell.half, r.cell.regime["name"], r.cell.budget["name"]) == ("public", regime, budget)
        and (not tasks or r.cell.task["name"] in tasks)
    )
    return found


def shown(t: Table, task: str, contender: str) -> float:
    found = t.find(task, contender)
    assert found is not None
    return found.estimate.value


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


def trials() -> dict[str, list[str]]:
    """Means over three tasks with 30 trials and with 4."""
    many = board("trials", budget="trials_30")
    few = board("core", tasks=many.tasks)
    rows = {}
    for c in many.contenders:
        changes = (f"{shown(many, task, c) - shown(few, task, c):+.3f}" for task in many.tasks)
        rows[c] = [c, *(f"{np.mean([shown(t, task, c) for task in many.tasks]):.3f}" for t in (few, many)), *changes]
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


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, dict[str, list[str]]]:
    return {name: rows() for name, rows in ELSEWHERE.items()}


def test_the_tables_of_other_stores(elsewhere: dict[str, dict[str, list[str]]]) -> None:
    found = re.findall(r"<!-- store (\w+) -->\n+((?:\|.*\n)+)", PAGE.read_text())
    assert [name for name, _ in found] == list(ELSEWHERE)
    for name, table in found:
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()][2:]
        assert {row[0]: row for row in rows} == elsewhere[name]


def test_the_sentences(scores: Boards, elsewhere: dict[str, dict[str, list[str]]]) -> None:
    text = re.sub(r"## Steering .*?(?=## )", "", re.sub(r"\s+", " ", PAGE.read_text()))  # held by a test of its own
    gaps = {s.gap(a, b) for s in scores.values() for a, b in itertools.permutations(s.complete, 2) if len(s.tasks) > 5}
    cells = {cell for rows in elsewhere.values() for row in rows.values() for cell in row}
    told_gaps = GAP.findall(text)
    assert told_gaps and set(told_gaps) <= gaps | cells
    on = {(f"{value:.3f}", task) for s in scores.values() for (_, task), value in s.cells.items()}
    told = re.findall(r"(0\.\d{3}) on (?!average)(\w+)", text)
    assert told and set(told) <= on
    means = {s.mean(n) for s in scores.values() for n in s.complete}
    assert set(re.findall(r"`\w+` (0\.\d{3})\b", text)) <= means | {value for value, _ in on} | cells
    counts = {str(len(s.tasks)) for s in scores.values()}
    assert set(re.findall(r"(\d+) of the suite's 16 tasks", text)) <= counts


def test_the_reader_is_told_how_many_intervals_there_are() -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    found = re.findall(r"\[[+-]\d\.\d+, [+-]\d\.\d+\]", text)
    assert f"of the {len(found)} of differences on this page" in text


def test_the_quiver(scores: Boards) -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    changes = re.findall(
        r"`(\w[\w ]*)`(?: is| together are) chosen in (\d+ of \d+) cells and changes? the mean by (\S+ \[.*?\])", text
    )
    assert len(changes) > 2
    tasks = set(scores["standard", "sae_probe"].tasks) & set(scores["standard", "mass_mean"].tasks)  # the whole toolbox
    records = [
        r
        for r in public(ROOT / "results" / "published" / "core")
        if r.cell.regime["name"] == "standard" and r.cell.task["name"] in tasks
    ]
    (table,) = leaderboard.build(records)
    found = {}
    for q in quivers(table):
        assert q.interval is not None
        change = f"{q.change:+.4f} [{q.interval[0]:+.3f}, {q.interval[1]:+.3f}]"
        found[q.added[0] if len(q.added) == 1 else "all methods"] = (f"{q.picked} of {q.cells}", change)
    assert {n: found[n] for n, _, _ in changes} == {n: (picked, c) for n, picked, c in changes}


def test_steering() -> None:
    """Each value is of the board of steering, or of what is reached at 0.2 nats; the rest stands on its own page."""
    (table,) = leaderboard.build(
        r for r in Store(ROOT / "results" / "published" / "axbench").records() if r.cell.track == "steer"
    )
    section = PAGE.read_text().split("## Steering\n")[1].split("\n## ")[0]
    before, after = " ".join(section.split()).split("**What it costs.**")
    alone, rest = after.split("- **A latent")
    told = re.findall(r"`(\w+)` \(?(0\.\d{3})", before + rest)
    told += re.findall(r"\(`(\w+)` (0\.\d{3})\)", rest)
    assert len(told) > 6
    for name, value in told:
        score = table.find("all", name)
        assert score is not None and f"{score.estimate.value:.3f}" == value, name
    equal = {m.contender: f"{m.scores[NATS.index(0.2)]:.3f}" for m in matched(table)}
    shown_equal = dict(re.findall(r"`(\w+)` (0\.\d{3})", alone))
    assert len(shown_equal) == 6 and shown_equal.items() <= equal.items()
    other = " ".join((ROOT / "docs" / "steering.md").read_text().split())
    (rho,) = re.findall(r"Spearman's correlation is (-0\.\d\d) over the eight contenders", before)
    assert f"over the 8 contenders that both have, Spearman's correlation is {rho}" in other
    assert at_floor(table) == list(table.tasks)
    assert "**and nothing is told apart from prompting**" in other  # held by tests/test_steering_page.py

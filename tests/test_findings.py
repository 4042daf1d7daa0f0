"""Every number of docs/findings.md is what the published records give."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from results.metrics import auroc
from results.record import Record
from results.stats import difference
from results.store import Store

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "findings.md"
GAP = re.compile(r"[+-]0\.\d{3} \[[+-]0\.\d{3}, [+-]0\.\d{3}\]")

pytestmark = pytest.mark.slow


def area(record: Record) -> float:
    """AUROC of the answers to the test, mean over draws."""
    assert record.test is not None
    return float(np.mean([auroc(record.test.truth, draw)[0] for draw in record.test.score]))


class Scores:
    """Mean test AUROC over seeds of one regime's cells, and differences over the tasks that two contenders share."""

    def __init__(self, cells: dict[tuple[str, str], list[float]], families: dict[str, str]) -> None:
        self.cells = {cell: float(np.mean(found)) for cell, found in cells.items()}
        self.families = families
        self.tasks = sorted({task for _, task in self.cells})
        names = sorted({name for name, _ in self.cells})
        self.complete = [n for n in names if all((n, task) in self.cells for task in self.tasks)]

    def of(self, name: str) -> np.ndarray:
        return np.array([self.cells[name, task] for task in self.tasks])

    def mean(self, name: str) -> str:
        return f"{self.of(name).mean():.3f}"

    def gap(self, name: str, other: str) -> str:
        found = difference(self.of(name), self.of(other), [self.families[task] for task in self.tasks])
        assert found is not None
        return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*found)


@pytest.fixture(scope="module")
def scores() -> dict[str, Scores]:
    cells: dict[str, dict[tuple[str, str], list[float]]] = {}
    families: dict[str, str] = {}
    for record in Store(ROOT / "results" / "published" / "core").records():
        if record.status == "ok":
            task = record.cell.task["name"]
            families[task] = str(record.about["task_family"])
            of_regime = cells.setdefault(record.cell.regime["name"], {})
            of_regime.setdefault((record.cell.contender["name"], task), []).append(area(record))
    return {regime: Scores(found, families) for regime, found in cells.items()}


def tables() -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """The page's tables: the regime named in the comment before, the header, the rows."""
    for regime, table in re.findall(r"<!-- (\w+) -->\n+((?:\|.*\n)+)", PAGE.read_text()):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
        yield regime, rows[0], rows[2:]


def test_the_tables(scores: dict[str, Scores]) -> None:
    checked = 0
    for regime, header, rows in tables():
        known = scores[regime]
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
    assert len(list(tables())) == PAGE.read_text().count("|---|---|")


def test_the_sentences(scores: dict[str, Scores]) -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    gaps = {s.gap(a, b) for s in scores.values() for a, b in itertools.permutations(s.complete, 2)}
    said = GAP.findall(text)
    assert said and set(said) <= gaps
    on = {(f"{value:.3f}", task) for s in scores.values() for (_, task), value in s.cells.items()}
    told = re.findall(r"(0\.\d{3}) on (\w+)", text)
    assert told and set(told) <= on
    means = {s.mean(n) for s in scores.values() for n in s.complete}
    assert set(re.findall(r"`\w+` (0\.\d{3})\b", text)) <= means | {value for value, _ in on}
    assert set(re.findall(r"Coverage: (\d+) of", text)) == {str(len(scores["standard"].tasks))}

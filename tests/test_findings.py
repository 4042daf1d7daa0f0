"""Every number of docs/findings.md is what the published records give."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from results import leaderboard
from results.matched import NATS, matched
from results.quiver import quivers
from results.store import Store
from results.table import at_floor
from tests.findings import ELSEWHERE, PAGE, PUBLISHED, ROOT, Boards, boards, public

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scores() -> Boards:
    return boards()


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


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, dict[str, list[str]]]:
    return {name: rows() for name, rows in ELSEWHERE.items()}


def test_the_tables_of_other_stores(elsewhere: dict[str, dict[str, list[str]]]) -> None:
    found = re.findall(r"<!-- store (\w+) -->\n+((?:\|.*\n)+)", PAGE.read_text())
    assert [name for name, _ in found] == list(ELSEWHERE)
    for name, table in found:
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()][2:]
        assert {row[0]: row for row in rows} == elsewhere[name]


def test_the_reader_is_told_how_many_intervals_there_are() -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    found = re.findall(r"\[[+-]\d\.\d+, [+-]\d\.\d+\]", text)
    assert f"of the {len(found)} intervals of differences on this page" in text


def test_the_quiver(scores: Boards) -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    changes = re.findall(
        r"`(\w[\w ]*)`(?: is| together are) chosen in (\d+ of \d+) cells and changes? the mean by (\S+ \[.*?\])", text
    )
    assert len(changes) > 2
    tasks = set(scores["standard", "sae_probe"].tasks) & set(scores["standard", "mass_mean"].tasks)  # the whole toolbox
    records = [r for r in public() if r.cell.regime["name"] == "standard" and r.cell.task["name"] in tasks]
    (table,) = leaderboard.build(records)
    found = {}
    for q in quivers(table):
        assert q.interval is not None
        change = f"{q.change:+.4f} [{q.interval[0]:+.3f}, {q.interval[1]:+.3f}]"
        found[q.added[0] if len(q.added) == 1 else "all methods"] = (f"{q.picked} of {q.cells}", change)
    assert {n: found[n] for n, _, _ in changes} == {n: (picked, c) for n, picked, c in changes}


def test_steering() -> None:
    """Each value is of the board of steering, or of what is reached at 0.2 nats; the rest stands on its own page."""
    (table,) = leaderboard.build(r for r in Store(PUBLISHED / "axbench").records() if r.cell.track == "steer")
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
    assert (
        "**by sentence embeddings nothing is told apart from prompting**" in other
    )  # held by tests/test_steering_page.py

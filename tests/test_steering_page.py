"""Every number of docs/steering.md is what the published records give, and docs/answers.md is made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from results import leaderboard
from results.leaderboard import Table
from results.samples import samples
from results.steering import DAMAGE, PARTS
from results.store import Store

ROOT = Path(__file__).parents[1]
STORE = ROOT / "results" / "published" / "axbench"
PAGE = ROOT / "docs" / "steering.md"
OTHER = "prompt_steering"
HEAD = f"| contender | score | less {OTHER} | {' | '.join(PARTS)} | {DAMAGE} |"
GAP = re.compile(r"[+-]0\.\d{3} \[[+-]0\.\d{3}, [+-]0\.\d{3}\]")


def board() -> Table:
    """Of the suite with the most contenders."""
    tables = leaderboard.build(r for r in Store(STORE).records() if r.cell.track == "steer")
    return max(tables, key=lambda table: len(table.contenders))


def gap(table: Table, name: str, other: str) -> str:
    found = table.against(name, other)
    assert found is not None
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*found)


def line(table: Table, name: str) -> str:
    """A contender's row of the page's table."""
    score = table.find("all", name)
    assert score is not None and score.estimate.low is not None
    e = score.estimate
    others = [table.find("all", name, metric) for metric in (*PARTS, DAMAGE)]
    told = [f"{s.estimate.value:.3f}" for s in others if s is not None]
    beside = "–" if name == OTHER else gap(table, name, OTHER)
    return f"| {name} | {e.value:.3f} [{e.low:.3f}, {e.high:.3f}] | {beside} | {' | '.join(told)} |"


@pytest.fixture(scope="module")
def table() -> Table:
    return board()


def test_the_table(table: Table) -> None:
    text = PAGE.read_text()
    rows = text[text.index(HEAD) :].split("\n\n")[0].splitlines()[2:]
    assert rows == [line(table, name) for name in table.contenders if table.complete(name)]
    assert len(rows) > 5


def test_the_sentences(table: Table) -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    whole = [name for name in table.contenders if table.complete(name)]
    gaps = {gap(table, a, b) for a in whole for b in whole if a != b}
    said = GAP.findall(text)
    assert len(said) > len(whole) and set(said) <= gaps
    values = {
        f"{s.estimate.value:.3f}" for name in whole for m in (None, *PARTS, DAMAGE) if (s := table.find("all", name, m))
    }
    assert set(re.findall(r"`\w+` (0\.\d{3})\b", text)) <= values


def test_the_answers() -> None:
    records = [r for r in Store(STORE).records() if r.cell.track == "steer"]
    assert (ROOT / "docs" / "answers.md").read_text() == samples(records)

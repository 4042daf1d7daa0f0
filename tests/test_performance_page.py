"""What docs/performance.md says of a sweep's seconds is what the published records give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import breakdown as command
from results import breakdown
from results.breakdown import Seconds
from results.record import Record
from results.store import Store
from runners.compose import raw

ROOT = Path(__file__).parents[1]
STORE = ROOT / "results" / "published" / "core"
CORE = raw("experiment", "core")["defaults"][0]["override /contender"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [
        r
        for r in Store(STORE).records()
        if (r.cell.half, r.cell.regime["name"], r.cell.budget["name"]) == ("public", "standard", "small")
        and r.cell.contender["name"] in CORE
    ]


@pytest.fixture(scope="module")
def section() -> str:
    page = (ROOT / "docs" / "performance.md").read_text()
    return page.split("## Where a sweep's seconds go\n")[1].split("\n## ")[0]


def test_the_table_is_what_the_command_prints(records: list[Record], section: str) -> None:
    (told,) = re.findall(r"(?:^\|.*\n)+", section, re.M)
    assert told.strip() == breakdown.table(breakdown.by_task(records))
    (words,) = re.findall(r"python -m benchmarks\.breakdown (.*)", section)
    assert told.strip() in command.main(words.replace("results/published/core", str(STORE)).split())
    text = " ".join(section.split())
    assert f"{len(CORE)} contenders" in text and f"{len({r.cell.seed for r in records})} seeds" in text


def test_the_sentences(records: list[Record], section: str) -> None:
    found, text = breakdown.by_task(records), " ".join(section.split())
    whole = sum(found.values(), Seconds())
    once, own = (f"{whole.shares[which]:.0%}".replace("%", " %") for which in (0, -1))
    assert f"over the suite it is {own}" in text and own == "18 %"
    above = sorted((t for t in found if found[t].shares[-1] > 0.25), key=lambda t: -found[t].shares[-1])
    assert f"above 25 % on seven of the {len(found)} tasks ({named(above)})" in text and len(above) == 7
    less = sorted((t for t in found if found[t].own < found[t].once), key=lambda t: found[t].own / found[t].once)
    assert f"holds on the five whose pass takes longest ({named(less)})" in text
    assert sorted(less) == sorted(sorted(found, key=lambda t: -found[t].once)[:5])
    assert f"but not over the suite ({own} against {once})" in text and whole.own > whole.once
    mine = {name: breakdown.of_cells(r.spent for r in records if r.cell.contender["name"] == name) for name in CORE}
    asking = mine["zero_shot"].inside + mine["few_shot"].inside
    assert f"`zero_shot` and `few_shot` are {asking / whole.inside:.0%} of it".replace("%", " %") in text
    shares = {name: f"{told.own / whole.own:.0%}".replace("%", " %") for name, told in mine.items()}
    told = dict(re.findall(r"`(\w+)` \((\d+ %)\)", text))
    assert len(told) == 4 and told.items() <= shares.items()
    assert sorted(told) == sorted(sorted(mine, key=lambda name: -mine[name].own)[:4])


def named(tasks: list[str]) -> str:
    return ", ".join(f"`{task}`" for task in tasks)

"""Every number of docs/detection.md is what the published records give."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from results import leaderboard
from results.record import Answers, Record
from results.store import Store
from results.table import Table

ROOT = Path(__file__).parents[1]
STORES = [
    ROOT / "results" / "published" / name for name in ("axbench", "axbench_fd", "axbench_others", "axbench_imbalanced")
]
PAGE = ROOT / "docs" / "detection.md"
OTHER = "linear_probe"
HEAD = f"| contender | AUROC | less {OTHER} | without hard negatives | AUPRC |"
GAP = re.compile(r"[+-]0\.\d{3} \[[+-]0\.\d{3}, [+-]0\.\d{3}\]")


def boards() -> dict[str, Table]:
    """A table for each task and regime, by name: contenders are complete by what they ran of it."""
    found: dict[str, list[Record]] = {}
    for record in (r for store in STORES for r in Store(store).records() if r.cell.track == "detect"):
        regime = str(record.cell.regime["name"]).removeprefix("standard")
        found.setdefault(f"{record.cell.task['name']}{regime}", []).append(record)
    return {name: leaderboard.build(records)[0] for name, records in found.items()}


def gap(table: Table, name: str, other: str) -> str:
    found = table.against(name, other)
    assert found is not None
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*found)


def line(table: Table, name: str) -> str:
    score, precise = table.find("all", name), table.find("all", name, "auprc")
    easy = table.find("all", name, "auroc_without_hard_negatives")
    assert (
        score is not None and precise is not None and score.estimate.low is not None and score.estimate.high is not None
    )
    e = score.estimate
    beside = "–" if name == OTHER else gap(table, name, OTHER)
    told = f"{easy.estimate.value:.3f}" if easy else "–"
    return f"| {name} | {e.value:.3f} [{e.low:.3f}, {e.high:.3f}] | {beside} | {told} | {precise.estimate.value:.3f} |"


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return boards()


def test_the_tables(tables: dict[str, Table]) -> None:
    sections = re.findall(rf"<!-- (\w+) -->\n\n{re.escape(HEAD)}\n[|-]+\n((?:\|.*\n)+)", PAGE.read_text())
    assert {name for name, _ in sections} == set(tables)
    for name, rows in sections:
        table = tables[name]
        assert rows.splitlines() == [line(table, c) for c in table.contenders if table.complete(c)]
        assert len(rows.splitlines()) > 5


def test_the_sentences(tables: dict[str, Table]) -> None:
    """Every gap and value is of the contender and the task that are named before it."""
    text = re.sub(r"\s+", " ", PAGE.read_text())
    told = 0
    for name, table in tables.items():
        for part in re.findall(rf"On `{name}`: (.*?)(?=On `|$|<!--)", text):
            whole = [c for c in table.contenders if table.complete(c)]
            for contender, found in re.findall(rf"`(\w+)` ({GAP.pattern})", part):
                assert found in {gap(table, contender, other) for other in whole if other != contender}, contender
                told += 1
            for contender, value in re.findall(r"`(\w+)` (0\.\d{3})\b", part):
                score = table.find("all", contender)
                assert score is not None and f"{score.estimate.value:.3f}" == value, contender
                told += 1
    assert told > 8


def test_how_many_say_the_same_in_every_seed() -> None:
    told = []
    for store in ("axbench", "axbench_fd"):
        scores: dict[str, list[np.ndarray]] = {}
        for r in Store(ROOT / "results" / "published" / store).records():
            if isinstance(r.test, Answers):
                scores.setdefault(str(r.cell.contender["name"]), []).append(np.asarray(r.test.score))
        assert {len(found) for found in scores.values()} == {3}
        same = [name for name, (a, b, c) in scores.items() if _alike(a, b) and _alike(a, c)]
        told.append(f"{len(same)} of the {len(scores)}")
    assert f"so that {told[0]} contenders on `concept10_2b_l20` and {told[1]} on" in " ".join(PAGE.read_text().split())


def _alike(one: np.ndarray, two: np.ndarray) -> bool:
    return one.shape == two.shape and bool(np.allclose(one, two, atol=1e-5))

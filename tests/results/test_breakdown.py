"""Seconds of records: each cell's own, and each job's pass once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arena.contract import FairfightError
from benchmarks.breakdown import main
from results.breakdown import Seconds, by_task, of_cells, table
from results.record import Record, key
from results.store import Store
from tests.results.test_record import CELL, record

PHASE = {"own_seconds": 2.0, "real_seconds": 5.0, "lm_tokens": 1.0, "seconds": 5.0}


def spent(once: float, encoding: float | None = None, **phases: Any) -> dict[str, Any]:
    told = {"total": PHASE, "labels": 3, "shared_pass_seconds": once, **phases}
    return told if encoding is None else {**told, "shared_encoding_seconds": encoding}


def made(task: str, contender: str, told: dict[str, Any], contents: dict[str, str] | None = None) -> Record:
    cell = replace(CELL, task={**CELL.task, "name": task}, contents=contents or {})
    cell = replace(cell, contender={**cell.contender, "name": contender})
    return record(cell, contender, key=key(cell), spent=told)


RECORDS = [
    made("a", "one", spent(10.0, 4.0, selection=PHASE, fit=PHASE)),  # phases of a job of three ...
    made("a", "two", spent(10.0, 4.0, query=PHASE)),
    made("a", "three", spent(10.0, 4.0), {"dictionary middle": "x"}),
    made("a", "four", spent(0.006, fit=PHASE)),  # ... and another that found everything read
    made("b", "one", spent(10.0, 4.0, judge=PHASE)),  # as long a pass, over other texts; nobody here reads a dictionary
    made("b", "two", {}),  # failed before anything was read
    made("b", "three", {"shared_pass_seconds": "long", "fit": {"own_seconds": None}}),  # a stranger's
]


def test_a_pass_counts_once_for_its_job_and_a_cell_for_itself() -> None:
    found = by_task(RECORDS)
    assert found["a"] == Seconds(pytest.approx(10.006), 4.0, 12.0, 8.0)
    assert found["b"] == Seconds(10.0, 0.0, 3.0, 2.0)
    assert of_cells([r.spent for r in RECORDS]) == Seconds(0.0, 0.0, 15.0, 10.0)
    assert sum(found["a"].shares) == pytest.approx(1.0) and found["a"].total == pytest.approx(34.006)
    assert Seconds().shares == (0.0,) * 4


def test_the_table_begins_where_most_is_spent_outside_the_model() -> None:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(by_task(RECORDS)).splitlines()]
    assert lines[2:] == [
        ["a", "34", "29%", "12%", "35%", "24%"],
        ["b", "15", "67%", "0%", "20%", "13%"],
        ["all", "49", "41%", "8%", "31%", "20%"],
    ]


def test_the_command_tells_boards_apart_and_keeps_to_an_experiment(tmp_path: Path) -> None:
    cell = replace(CELL, regime={**CELL.regime, "name": "standard"}, budget={**CELL.budget, "name": "small"})
    mine = record(cell, "knn", key=key(replace(cell, contender={**cell.contender, "name": "knn"})))
    stranger = made("a", "sae_probe", spent(1.0))
    store = Store(tmp_path)
    for r in (replace(mine, spent=spent(3.0, fit=PHASE)), stranger):
        store.save(r)
    every, core = main([f"store={tmp_path}"]), main([f"store={tmp_path}", "experiment=core"])
    assert [line for line in every.splitlines() if line.endswith(":")] == [
        "quick, quick, public, m:",
        "standard, small, public, m:",
    ]
    assert core.splitlines()[0] == "standard, small, public, m:" and core in every
    assert core.splitlines()[-1] == "| all | 8 | 38% | 0% | 38% | 25% |"
    assert main([f"store={tmp_path}", "experiment=knows"]) == f"No record of {tmp_path} is of experiment=knows."
    with pytest.raises(FairfightError, match="Could not find 'experiment/cor'"):
        main([f"store={tmp_path}", "experiment=cor"])

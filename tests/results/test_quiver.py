"""The toolbox: chosen out of fold, judged on the test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from results import leaderboard, page, render
from results.quiver import pool, quivers
from results.record import Record
from results.store import Store
from results.table import Table
from results.verdicts import sentence, verdicts
from tests.results.test_record import CELL, record

Told = dict[str, tuple[float, float]]  # contender -> score out of fold, skill on test


def board(told: Told, families: int = 6, **family: str) -> Table:
    found: list[Record] = []
    for number in range(families):
        for seed in (0, 1):
            cell = replace(CELL, task={**CELL.task, "name": f"task{number}"}, seed=seed)
            for name, (dev, skill) in told.items():
                r = record(
                    cell, name, skill * (1 + 0.2 * number), trials=[{"params": {}, "dev_score": dev, "path": []}]
                )
                about = {**r.about, "task_family": f"f{number}", "contender_family": family.get(name, "baseline")}
                found.append(replace(r, about=about))
    (table,) = leaderboard.build(found)
    return table


def mean(table: Table, name: str) -> float:
    return float(np.mean([test for (_, of, _), (_, test) in table.cells.items() if of == name]))


def test_what_looks_better_out_of_fold_joins_and_the_test_says_what_it_brings() -> None:
    table = board({"probe": (0.8, 1.0), "words": (0.7, 3.0), "sae": (0.9, 0.2)}, sae="method")
    (q,) = quivers(table)
    assert q.pool == ("probe", "words")  # not by rank, which has no say in the choice
    assert q.without == pytest.approx(mean(table, "probe"))
    assert q.change == pytest.approx(mean(table, "sae") - mean(table, "probe"))
    assert q.change < 0
    assert (q.picked, q.cells) == (12, 12)


def test_a_sentence_tells_what_a_method_brings() -> None:
    rises = board({"probe": (0.8, 1.0), "words": (0.7, 3.0), "sae": (0.9, 2.0)}, sae="method")
    (q,) = quivers(rises)
    said = sentence("sae", verdicts(rises), [q])
    assert q.interval is not None
    change = "{:+.4f} [{:+.4f}, {:+.4f}]".format(q.change, *q.interval)
    assert said.endswith(f" Beside the baselines it is chosen in 12 of 12 cells, and changes their score by {change}.")
    assert said in render.as_markdown([rises])
    idle = board({"probe": (0.8, 1.0), "sae": (0.7, 2.0)}, sae="method")
    assert sentence("sae", verdicts(idle), quivers(idle)).endswith(". Beside the baselines it is never chosen.")
    assert "| never chosen " in render.as_markdown([idle])


def test_what_is_not_chosen_changes_nothing() -> None:
    (q,) = quivers(board({"probe": (0.8, 1.0), "sae": (0.8, 3.0)}, sae="method"))  # a tie goes to the toolbox
    assert (q.change, q.picked) == (0.0, 0)
    assert q.interval == (0.0, 0.0)


def test_controls_are_no_arrows_and_incomplete_methods_are_not_added() -> None:
    table = board(
        {"probe": (0.8, 1.0), "random": (0.99, 3.0), "sae": (0.7, 1.0), "lat": (0.6, 1.0)},
        random="control",
        sae="method",
        lat="method",
    )
    assert pool(table) == ("probe",)
    assert [q.added for q in quivers(table)] == [("lat",), ("sae",), ("lat", "sae")]


def test_families_count_once_however_many_tasks_they_have() -> None:
    table = board({"probe": (0.8, 1.0), "sae": (0.9, 2.0)}, families=8, sae="method")
    merged = replace(table, families={task: "f0" if int(task[4:]) < 3 else f"f{task[4:]}" for task in table.tasks})
    (q,) = quivers(merged)

    def over_families(name: str) -> float:
        means = [
            np.mean([test for (task, of, _), (_, test) in table.cells.items() if (task, of) == (mine, name)])
            for mine in table.tasks
        ]
        return float(np.mean([np.mean(means[:3]), *means[3:]]))

    assert q.without == pytest.approx(over_families("probe"))
    assert q.change == pytest.approx(over_families("sae") - over_families("probe"))
    assert q.interval is not None
    assert q.interval[0] < q.change < q.interval[1]


def test_few_families_give_no_interval_and_the_page_shows_what_there_is() -> None:
    table = board({"probe": (0.8, 1.0), "sae": (0.9, 2.0)}, families=3, sae="method")
    (q,) = quivers(table)
    assert q.interval is None
    assert f"| sae                  | 6/6             | {q.change:+.4f}" in render.as_markdown([table])


def test_without_a_method_there_is_no_question() -> None:
    assert "toolbox" not in render.as_markdown([board({"probe": (0.8, 1.0)})])


def test_a_method_that_is_not_above_its_control_is_void() -> None:
    told = {"probe": (0.8, 1.0), "good": (0.7, 3.0), "bad": (0.6, 0.5), "random": (0.5, 0.5), "lone": (0.5, 2.0)}
    table = board(told, random="control", good="method", bad="method", lone="method")
    table = replace(table, controls={"good": "random", "bad": "random", "lone": "absent"})
    lines = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in render._toolbox(table) if "|" in line}
    gap = table.against("good", "random")
    assert gap is not None and gap[1] > 0
    assert lines["good"] == f"random: {gap[0]:+.3f} [{gap[1]:+.3f}, {gap[2]:+.3f}]"
    assert lines["bad"].startswith("random: ") and lines["bad"].endswith(", void")
    assert lines["lone"] == "absent: not on this board in full"
    assert lines["all methods"] == "–"


def test_few_families_and_several_dictionaries_find_their_control() -> None:
    few = board(
        {"probe": (0.8, 1.0), "sae": (0.7, 3.0), "random": (0.5, 0.5)}, families=2, random="control", sae="method"
    )
    few = replace(few, controls={"sae": "random"})
    one, two = few.find("all", "sae"), few.find("all", "random")
    assert one is not None and two is not None
    expected = f"random: {one.estimate.value - two.estimate.value:+.3f}, too few families for an interval"
    assert render.against_control(few, "sae") == expected
    names = {"probe": (0.8, 1.0), "sae [d=a]": (0.7, 3.0), "random [d=a]": (0.5, 0.5), "random [d=b]": (0.5, 2.0)}
    several = replace(board(names), controls={"sae [d=a]": "random"})
    assert render.against_control(several, "sae [d=a]").startswith("random [d=a]: ")


def test_there_is_no_toolbox_where_what_chose_flatters_those_with_more_trials() -> None:
    tables = leaderboard.build(Store(Path(__file__).parents[2] / "results" / "published" / "axbench").records())
    assert {t.board.track: bool(quivers(t)) for t in tables} == {"detect": True, "steer": False}
    assert page.NO_TOOLBOX in page.html(tables)

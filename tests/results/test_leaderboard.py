"""The leaderboard and the figures, from made-up records."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from results import figures, leaderboard, page, publish, render
from results.metrics import METRICS
from results.record import Answers, Record, key
from results.store import StoreError
from results.table import at_floor
from tests.results.test_record import CELL, record

DRAWN = ("scores", "cost", "seconds")  # every other kind is drawn in `test_figures.py`


def records() -> list[Record]:
    """Two tasks, two seeds, a good contender, a poor one, and one with a failed cell."""
    found = []
    for task in ("sst2", "cola"):
        for seed in (0, 1):
            cell = replace(CELL, task={**CELL.task, "name": task}, seed=seed)
            found.append(record(cell, "strong", 2.0))
            found.append(record(cell, "weak", 0.3))
            bad = (task, seed) == ("cola", 1)
            changes = {"status": "failed", "error": "It broke | <b>here</b>", "test": None, "dev": None} if bad else {}
            found.append(record(cell, "patchy", 3.0, **changes))
    return found


def test_answers_to_other_rows_are_refused_and_not_compared() -> None:
    made = records()
    test = made[0].test
    assert isinstance(test, Answers)
    for changed in (
        replace(test, id=tuple(f"{name}!" for name in test.id)),
        replace(test, truth=1 - test.truth),
        replace(test, group=test.group // 2),
    ):
        other = replace(made[0], test=changed)
        with pytest.raises(StoreError, match=rf"{other.key[:12]}.* of task 'sst2' answer different test rows"):
            leaderboard.build([other, *made[1:]])


def test_scores_that_are_no_numbers_are_refused() -> None:
    made = records()
    test = made[0].test
    assert isinstance(test, Answers)
    score = test.score.copy()
    score[0, 3, 1] = np.nan
    with pytest.raises(StoreError, match=rf"{made[0].key[:12]} of task 'sst2' has scores that are no numbers"):
        leaderboard.build([replace(made[0], test=replace(test, score=score)), *made[1:]])


def test_boards_that_decide_come_first_then_those_of_most_cells() -> None:
    def of(half: str, regime: str, budget: str, cells: int) -> list[Record]:
        cell = replace(CELL, half=half, regime={"name": regime}, budget={"name": budget})
        return [record(replace(cell, seed=seed)) for seed in range(cells)]

    made = [*of("public", "few", "b", 4), *of("public", "standard", "a", 1), *of("public", "standard", "b", 3),
            *of("lockbox", "standard", "b", 2)]  # fmt: skip
    found = [(t.board.half, t.board.regime, t.board.budget) for t in leaderboard.build(made)]
    assert found == [
        ("lockbox", "standard", "b"), ("public", "standard", "b"), ("public", "standard", "a"), ("public", "few", "b"),
    ]  # fmt: skip


def test_what_nobody_answered_is_no_family() -> None:
    def of(family: str, **changes: Any) -> Record:
        r = record(replace(CELL, task={**CELL.task, "name": family}), **changes)
        return replace(r, about={**r.about, "task_family": family})

    answered = [of(f"f{number}") for number in range(5)]
    (table,) = leaderboard.build([*answered, of("lost", status="failed", error="no", test=None, dev=None)])
    assert set(table.families) == set(table.tasks) == {f"f{number}" for number in range(5)}
    assert "5 task families are too few" in render.as_markdown([table])


def test_foreign_names_are_text_in_markdown_and_no_formula_in_csv() -> None:
    made = [record(replace(CELL, task={**CELL.task, "name": "=1+<img src=x>"}, seed=seed)) for seed in (0, 1)]
    tables = leaderboard.build(made)
    assert "<" not in render.as_markdown(tables)
    assert "&lt;img" in render.as_markdown(tables)
    lines = list(csv.DictReader(io.StringIO(render.as_csv(tables))))
    assert {line["task"] for line in lines} == {"'=1+<img src=x>", "all"}


def test_rows_have_the_promised_fields() -> None:
    rows = json.loads(render.as_json(leaderboard.build(records())))
    promised = {
        "track",
        "task",
        "regime",
        "model",
        "contender",
        "family",
        "metric",
        "value",
        "low",
        "high",
        "seeds",
        "n",
    }
    for row in rows:
        assert promised <= set(row)
        assert isinstance(row["seeds"], int) and isinstance(row["n"], int)
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]
    told = set(METRICS) - {"worst_group_accuracy", "auroc_without_hard_negatives"}  # no subpopulations here
    assert {r["metric"] for r in rows} == told
    assert {r["task"] for r in rows} == {"sst2", "cola", "all"}
    assert len([r for r in rows if r["contender"] == "strong"]) == 3 * len(told)


def test_the_aggregate_is_the_mean_of_the_tasks() -> None:
    (table,) = leaderboard.build(records())
    each = [table.find(task, "strong") for task in table.tasks]
    every = table.find("all", "strong")
    assert every is not None
    assert every.estimate.value == pytest.approx(sum(s.estimate.value for s in each if s) / 2)
    assert every.seeds == 2
    assert every.n == 80


def test_a_dictionary_that_was_trained_anew_makes_another_contender() -> None:
    old, new = ({"dictionary middle": content * 32} for content in "ab")
    found = [record(replace(CELL, contents=contents, seed=seed), "sae") for contents in (old, new) for seed in (0, 1)]
    (table,) = leaderboard.build(found)
    assert len(table.contenders) == 2
    assert table.contenders == ("sae [dictionary middle=#aaaaaa]", "sae [dictionary middle=#bbbbbb]")
    assert set(table.coverage.values()) == {(2, 2)}
    placed = [replace(r, about={**r.about, "dictionaries": {"middle": "mine"}}) for r in found]
    assert leaderboard.build(placed)[0].contenders[0] == "sae [dictionary middle=mine#aaaaaa]"


def test_what_differs_beyond_the_length_of_a_name_stays_two() -> None:
    """A value is shown by its beginning; a grid that differs in its last entry has the same one."""
    params = [{**CELL.contender, "grid": {"layer": [*range(40), last]}} for last in (50, 60)]
    found = [
        replace(r, cell=(cell := replace(CELL, contender=one, seed=seed)), key=key(cell))
        for one in params
        for seed in (0, 1)
        for r in [record(replace(CELL, seed=seed))]
    ]
    (table,) = leaderboard.build(found)
    assert len(table.contenders) == 2 and set(table.coverage.values()) == {(2, 2)} and not table.failures


def test_a_swept_hyperparameter_keeps_its_control() -> None:
    """Method and wrapper are named by different words for one thing: k=16 and of.k=16."""
    found = []
    for k, seed in itertools.product((16, 128), (0, 1)):
        method = {"name": "sae_probe", "version": 1, "params": {"k": k}, "grid": {"k": [k, 4]}, "path": {}}
        wrapped = {"of.name": "sae_probe", "of.version": 1, "of.k": k, "draws": 3}
        control = {"name": "random_sae", "version": 1, "params": wrapped, "grid": {"of.k": [k, 4]}, "path": {}}
        for one, names in ((method, "random_sae"), (control, None)):
            cell = replace(CELL, contender=one, seed=seed)
            made = record(replace(CELL, seed=seed))
            found.append(replace(made, cell=cell, key=key(cell), about={**made.about, "control": names}))
    (table,) = leaderboard.build(found)
    told = {c: table.control_of(c) for c in table.contenders if c.startswith("sae_probe")}
    assert len(told) == 2 and None not in told.values()
    for method_name, control_name in told.items():
        assert ("=128" in method_name) == ("=128" in str(control_name))


def test_nothing_is_imputed() -> None:
    """A contender without every cell has no aggregate and stands below, however good it looks."""
    (table,) = leaderboard.build(records())
    assert table.contenders == ("strong", "weak", "patchy")
    assert table.coverage["patchy"] == (3, 4)
    assert table.find("all", "patchy") is None
    assert table.find("sst2", "patchy") is not None
    text = render.as_markdown([table])
    assert "3/4 cells" in text
    assert "Not ranked, for lack of cells: patchy." in text
    assert "cola x patchy, seed 1 (failed): It broke \\| &lt;b>here&lt;/b>" in text


def test_a_cell_counts_once_whatever_keys_it_comes_under() -> None:
    """A stranger's copies would else be seeds of their own, and make intervals narrow."""
    made = records()
    copies = [replace(made[0], key=f"0{number}") for number in range(9)]
    (clean,), (table,) = leaderboard.build(made), leaderboard.build([*made, *copies])
    assert table.scores == clean.scores and table.coverage == clean.coverage
    (told,) = [line for line in table.failures if "10 records of this cell" in line]
    assert made[0].key[:12] in told


def test_a_test_of_one_class_stops_no_board() -> None:
    made = []
    for r in records():
        one = r.cell.task["name"] == "cola" and isinstance(r.test, Answers)
        made.append(replace(r, test=replace(r.test, truth=np.zeros(40, dtype=int))) if one else r)  # type: ignore[type-var]
    (table,) = leaderboard.build(made)
    assert np.isnan(table.value("cola", "strong")) and not np.isnan(table.value("sst2", "strong"))
    assert "strong" in page.html([table]) and "strong" in render.as_markdown([table])


def test_a_task_that_nobody_answered_unranks_nobody() -> None:
    broken = replace(CELL, task={**CELL.task, "name": "broken"})
    failed = record(broken, "strong", status="failed", error="Too small.", test=None, dev=None)
    (table,) = leaderboard.build([*(r for r in records() if r.status == "ok"), failed])
    assert "broken" not in table.tasks
    assert table.complete("strong")
    assert "broken x strong, seed 0 (failed): Too small." in render.as_markdown([table])


def test_cells_that_differ_in_more_are_never_in_one_column() -> None:
    other = replace(CELL, regime={**CELL.regime, "labels": 512})
    tables = leaderboard.build([record(), record(other)])
    assert [t.board.regime for t in tables] == ["quick [labels=256]", "quick [labels=512]"]
    tuned = replace(CELL, contender={**CELL.contender, "params": {"layer": 0.5, "C": 0.1}})
    (table,) = leaderboard.build([record(), record(tuned)])
    assert set(table.contenders) == {"linear_probe [C=0.1]", "linear_probe [C=1]"}


def test_regenerating_gives_the_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    hashes = []
    for i, order in enumerate((records(), records()[::-1])):
        tables = leaderboard.build(order)
        publish.write(tables, tmp_path / str(i))
        for kind in DRAWN:
            figures.save(figures.draw(kind, tables, "auroc", 6.0), tmp_path / str(i), kind)
        files = sorted((tmp_path / str(i)).iterdir())
        hashes.append([(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files])
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == len(publish.SUFFIXES) + 1 + 5 * len(DRAWN)


def test_csv_is_the_same_table() -> None:
    tables = leaderboard.build(records())
    rows = list(csv.DictReader(io.StringIO(render.as_csv(tables))))
    assert len(rows) == len(render.rows(tables))
    assert rows[0]["track"] == "detect"


def test_too_few_groups_are_told() -> None:
    r = record()
    assert r.test is not None
    few = replace(r, test=replace(r.test, group=r.test.group // 4))
    assert "Too few groups for a verdict (fewer than 20): sst2 (10)." in render.as_markdown(leaderboard.build([few]))


@pytest.mark.parametrize("kind", DRAWN)
def test_figures_show_every_contender(kind: str) -> None:
    (table,) = leaderboard.build(records())
    figure = figures.draw(kind, [table], "auroc", 6.0).figure
    shown = {t.get_text() for axis in figure.axes for t in [*axis.texts, *axis.get_yticklabels()]}
    expected = set(table.contenders) if kind == "scores" else {c for c in table.contenders if table.complete(c)}
    assert expected <= shown


def test_a_task_where_prompting_is_at_the_floor_is_named() -> None:
    made = []
    for task, value in (("sst2", 2.0), ("cola", 0.0)):
        cell = replace(CELL, task={**CELL.task, "name": task})
        asked = record(cell, "zero_shot", value)
        made.append(replace(asked, about={**asked.about, "access": ["description", "logprobs", "labels"]}))
        made.append(record(cell, "strong", 2.0))
    (table,) = leaderboard.build(made)
    assert at_floor(table) == ["cola"]
    told = "Prompt at floor (no prompt's interval lies above chance; no claim is made against prompting there): cola."
    assert told in render.as_markdown([table])
    (unasked,) = leaderboard.build([record(contender="strong", value=0.0)])
    assert at_floor(unasked) == []


def test_every_contender_is_laid_beside_one() -> None:
    made = []
    for number in range(7):
        cell = replace(CELL, task={**CELL.task, "name": f"task{number}"})
        for name, value in (("linear_probe", 1.0), ("strong", 2.0)):
            r = record(cell, name, value)
            made.append(replace(r, about={**r.about, "task_family": f"family{number}"}))
    (table,) = leaderboard.build(made)
    found = table.against("strong", "linear_probe")
    assert found is not None
    scores = {c: [table.find(t, c).estimate.value for t in table.tasks] for c in table.contenders}  # type: ignore[union-attr]
    peer = stats.ttest_rel(scores["strong"], scores["linear_probe"])
    interval = peer.confidence_interval()
    assert found[1:] == pytest.approx((interval.low, interval.high))
    assert table.against("strong", "strong") is None
    one_more = [*made, record(replace(made[0].cell, seed=9), "linear_probe", 1.0)]  # a seed that `strong` lacks
    (uneven,) = leaderboard.build(one_more)
    assert uneven.against("strong", "linear_probe") is None
    assert "less linear_probe" in render.as_markdown([table])
    assert "less strong" in render.as_markdown([table], versus="strong")
    (few,) = leaderboard.build(made[:4])
    assert few.against("strong", "linear_probe") is None
    assert "less linear_probe" not in render.as_markdown([few])


def test_a_store_of_failures_is_told_in_a_line() -> None:
    failed = record(status="failed", test=None, dev=None, untuned=None, error="It broke.", trials=[], chosen=None)
    (table,) = leaderboard.build([failed])
    page = render.as_markdown([table])
    assert "No cell has a result." in page and "It broke." in page
    assert "0 task(s)" not in page

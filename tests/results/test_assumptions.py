"""Common assumptions: pairs of shipped contenders, told as the tables have them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results import leaderboard, page, render
from results.assumptions import ASKED, across, assumptions
from results.table import Table, at_floor
from runners import build
from runners.compose import options, raw
from tests.results.test_quiver import board


@pytest.mark.parametrize("track", ASKED)
def test_they_are_of_contenders_that_ship(track: str) -> None:
    shipped = {name for name in options("contender") if track in build.tracks(raw("contender", name))}
    assert {name for _, one, two in ASKED[track] for name in (one, two)} <= shipped


def test_a_pair_with_every_cell_is_told_with_its_interval() -> None:
    skills = {"linear_probe": 1.0, "bag_of_words": 0.2, "mlp": 1.0, "untrained_model": 0.0}
    table = board({name: (0.5, skill) for name, skill in skills.items()})
    found = {(a.one, a.two): a for a in assumptions(table)}
    below = {two for one, two in found if one == "linear_probe"}
    assert below == {"bag_of_words", "untrained_model"} and len(found) == 3
    words = found["linear_probe", "bag_of_words"]
    assert words.gap == table.against("linear_probe", "bag_of_words") and words.told == "above"
    told = [replace(words, gap=gap).told for gap in ((0, -1, 1), (1, 0.5, 2), (-1, -2, -0.5))]
    assert told == ["not told apart", "above", "below"]
    for text in (render.as_markdown([table]), page.html([table]).replace("\u2212", "-")):
        assert words.question in text and f"{words.gap[0]:+.3f}" in text


def test_few_families_tell_nothing() -> None:
    assert assumptions(board({"linear_probe": (0.8, 1.0), "mlp": (0.8, 1.0)}, families=5)) == []
    assert "assumption" not in render.as_markdown([board({"probe": (0.8, 1.0)})])


def with_labels(labels: int, skills: dict[str, float]) -> Table:
    """A board of six families in a regime of so many labels."""
    name = "standard" if labels == 512 else f"few_{labels}"
    made = board({who: (0.5, skill) for who, skill in skills.items()})
    found = [
        replace(r, cell=replace(r.cell, regime={**r.cell.regime, "name": name, "labels": labels}))
        for each in made.records.values()
        for r in each
    ]
    (table,) = leaderboard.build(found)
    return table


def test_labels_that_close_a_gap_are_told_across_boards() -> None:
    few, many = (
        with_labels(n, {"linear_probe": 2.0, "bag_of_words": words, "mlp": 1.0}) for n, words in ((16, 0.1), (512, 1.8))
    )
    (told,) = across([many, few])
    assert told.question == "Does bag_of_words gain on linear_probe with 512 labels instead of 16?"
    shrinks = few.against("linear_probe", "bag_of_words"), many.against("linear_probe", "bag_of_words")
    assert shrinks[0] is not None and shrinks[1] is not None
    assert told.gap[0] == pytest.approx(shrinks[0][0] - shrinks[1][0])
    assert told.told == "it gains"
    for text in (render.as_markdown([many, few]), page.html([many, few]).replace("\u2212", "-")):
        assert "Across the boards</h2>" in text or "## Across the boards" in text
        assert told.question in text and told.where in text and f"{told.gap[0]:+.3f}" in text
    assert 'id="across"' not in page.html([many])
    assert across([many]) == [] == across([few, few])
    assert "Across the boards" not in render.as_markdown([many])


def test_what_is_said_of_prompting_leaves_out_where_it_is_at_its_floor() -> None:
    """Six tasks on which asking tells something, and two on which it does not."""
    found = []
    for low in (False, True):
        made = board({"linear_probe": (0.8, 2.0), "zero_shot": (0.6, 0.0 if low else 1.5)}, families=2 if low else 6)
        for each in made.records.values():
            for r in each:
                task = {**r.cell.task, "name": f"{r.cell.task['name']}{'low' if low else ''}"}
                access = ["description", "logprobs"] if r.cell.contender["name"] == "zero_shot" else ["internals"]
                about = {**r.about, "access": access, "task_family": task["name"]}
                found.append(replace(r, cell=replace(r.cell, task=task), about=about))
    (table,) = leaderboard.build(found)
    silent = at_floor(table)
    assert silent and len(silent) < len(table.tasks)
    (told,) = [a for a in assumptions(table) if a.one == "zero_shot"]
    assert told.silent == len(silent)
    assert told.gap == table.against("zero_shot", "linear_probe", without=silent)
    assert told.gap != table.against("zero_shot", "linear_probe")
    assert f"without {len(silent)} tasks with the prompt at its floor" in told.told

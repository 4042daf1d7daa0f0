"""Common assumptions: pairs of shipped contenders, told as the tables have them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results import page, render
from results.assumptions import ASKED, assumptions
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

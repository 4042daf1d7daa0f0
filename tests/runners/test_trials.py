"""Trials: deterministic, default first, space-filling, prefixes of one another."""

from __future__ import annotations

from runners.trials import along, draw

GRID = {"layer": [0.5, 0.25, 0.75, 0.9], "pooling": ["last", "mean", "max"], "x": [1, 2, 3, 4, 5]}
PARAMS = {"layer": 0.5, "pooling": "last", "x": 1, "C": 1.0}


def test_the_default_comes_first_and_nothing_twice() -> None:
    found = draw(PARAMS, GRID, 30)
    assert found[0] == {"layer": 0.5, "pooling": "last", "x": 1}
    assert len({str(f) for f in found}) == 30


def test_a_smaller_budget_tries_a_prefix() -> None:
    assert draw(PARAMS, GRID, 10)[:4] == draw(PARAMS, GRID, 4)


def test_the_draw_fills_the_space() -> None:
    found = draw(PARAMS, GRID, 12)
    assert {f["layer"] for f in found} == set(GRID["layer"])
    assert {f["pooling"] for f in found} == set(GRID["pooling"])
    assert {f["x"] for f in found} == set(GRID["x"])


def test_a_small_grid_is_exhausted() -> None:
    assert len(draw({"a": 1}, {"a": [1, 2, 3]}, 10)) == 3
    assert draw({}, {}, 10) == [{}]


def test_a_path_is_one_trial() -> None:
    assert along({"C": 1.0}, {"C": [1.0, 0.1]}) == [{"C": 1.0}, {"C": 0.1}]
    assert along({"C": 1.0}, {}) == [{}]


def test_an_override_off_the_path_is_tried_first() -> None:
    assert along({"C": 5}, {"C": [1.0, 0.1]}) == [{"C": 5}, {"C": 1.0}, {"C": 0.1}]

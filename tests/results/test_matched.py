"""Steering at equal damage: mixtures of trials, nothing beyond them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from results import leaderboard, page, render
from results.matched import ABOUT, NATS, matched, reached
from results.store import Store

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


@pytest.mark.parametrize(
    ("nats", "score"),
    [
        (0.0, 0.2),  # doing nothing
        (0.1, 0.4),  # half of the answers by the first trial
        (0.2, 0.6),
        (0.3, 0.65),  # half by the first, half by the second
        (0.4, 0.7),
        (9.0, 0.7),  # the third is no better, and nothing is extrapolated
    ],
)
def test_a_mixture_lies_between_what_it_is_made_of(nats: float, score: float) -> None:
    assert reached([(0.0, 0.2), (0.2, 0.6), (0.4, 0.7), (0.6, 0.3)], nats) == pytest.approx(score)


def test_a_trial_below_the_line_is_passed_over() -> None:
    assert reached([(0.0, 0.0), (0.1, 0.01), (0.2, 0.5)], 0.1) == pytest.approx(0.25)


def test_it_is_the_upper_hull() -> None:
    rng = np.random.default_rng(0)
    points = [(0.0, 0.1), *zip(rng.uniform(0, 1, 9).tolist(), rng.uniform(0, 1, 9).tolist(), strict=True)]
    at = np.linspace(0, 1.2, 60)
    hull = np.array([reached(points, x) for x in at.tolist()])
    assert (np.diff(hull) >= -1e-12).all() and (np.diff(hull, 2) <= 1e-12).all()  # rises, ever more slowly
    assert all(reached(points, x) >= y for x, y in points)


def test_the_board_of_steering_shows_it_and_that_of_detection_does_not() -> None:
    tables = {t.board.track: t for t in leaderboard.build(Store(PUBLISHED / "axbench").records())}
    found = matched(tables["steer"])
    assert {m.contender for m in found} == {c for c in tables["steer"].contenders if c != "no_intervention"}
    assert matched(tables["detect"]) == []
    middle = [m.scores[len(NATS) // 2] for m in found]
    assert middle == sorted(middle, reverse=True)
    for text in (page.html([tables["steer"]]), render.as_markdown([tables["steer"]])):
        assert ABOUT in text and f"at {NATS[0]}" in text
    assert ABOUT not in page.html([tables["detect"]])

"""Agreement of judges against scikit-learn and scipy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import cohen_kappa_score

from results import leaderboard
from results.agreement import (
    agreement,
    contrasts,
    contrasts_as_markdown,
    levels,
    markdown,
    on_what_both_know,
    weighted_kappa,
)
from results.record import Steered
from results.store import Store

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
RNG = np.random.default_rng(0)


def test_kappa_is_scikit_learn_s() -> None:
    a = RNG.integers(0, 3, 200)
    b = np.where(RNG.random(200) < 0.6, a, RNG.integers(0, 3, 200))
    assert weighted_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b, weights="quadratic"))
    assert weighted_kappa(a, a) == 1
    assert weighted_kappa(np.zeros(5, int), np.zeros(5, int)) is None
    assert weighted_kappa(np.zeros(0, int), np.zeros(0, int)) is None


def test_levels_are_the_nearest_rating() -> None:
    assert levels(np.array([0, 0.24, 0.25, 0.5, 0.74, 0.75, 1])).tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_ranks_of_answers_and_of_contenders() -> None:
    names = np.repeat(["a", "b", "c", "d"], 25)
    first = RNG.random(100)
    second = np.clip(first + RNG.normal(0, 0.2, 100), 0, 1)
    second[3] = np.nan  # withheld
    found = agreement(first, second, names.tolist())
    known = np.isfinite(second)
    assert found.answers == 99
    assert found.rho == pytest.approx(spearmanr(first[known], second[known]).statistic)
    means = [[x[known & (names == n)].mean() for n in "abcd"] for x in (first, second)]
    assert found.tau == pytest.approx(kendalltau(*means).statistic)
    assert found.kappa == pytest.approx(
        cohen_kappa_score(levels(first[known]), levels(second[known]), weights="quadratic")
    )
    assert f"| score | 99 | {found.first:.3f} |" in markdown({"score": found}, "one", "other")


def test_what_is_not_defined_is_not_told() -> None:
    flat = agreement(np.ones(4), np.array([0.0, 1, 0, 1]), list("abab"))
    assert (flat.rho, flat.tau) == (None, None)
    assert "–" in markdown({"score": flat}, "one", "other")
    nothing = agreement(np.full(2, np.nan), np.ones(2), list("ab"))
    assert (nothing.answers, nothing.kappa) == (0, None)


def test_each_judge_has_its_own_distance_from_prompting() -> None:
    records = [r for r in Store(PUBLISHED / "axbench").records() if r.cell.track == "steer"]
    half = []
    for r in records:
        assert isinstance(r.test, Steered)
        half.append(replace(r, test=replace(r.test, score={name: x / 2 for name, x in r.test.score.items()})))
    (first,), (second,) = leaderboard.build(records), leaderboard.build(half)
    found = contrasts(first, second, "prompt_steering")
    assert [c.contender for c in found] == list(first.contenders)
    for c in found:
        assert c.scores[1] == pytest.approx(c.scores[0] / 2)
        if c.contender == "prompt_steering":
            assert c.gaps == (None, None)
        else:
            assert c.gaps[0] == first.against(c.contender, "prompt_steering")
            assert c.gaps[1] == pytest.approx([x / 2 for x in c.gaps[0] or ()], abs=1e-9)
    rows = contrasts_as_markdown(found, "one", "two", "prompt_steering").splitlines()
    assert len(rows) == 2 + len(found) and "| – | – |" in next(r for r in rows if r.startswith("| prompt_steering"))


def test_two_judges_are_laid_side_by_side_on_what_both_judge() -> None:
    one = {"concept": np.array([0.1, 0.2, np.nan]), "fluency": np.array([1.0, 1.0, 1.0])}
    two = {"concept": np.array([np.nan, 0.4, 0.5]), "fluency": np.array([0.5, 0.5, 0.5])}
    first, second = on_what_both_know(one, two)
    assert np.array_equal(first["concept"], [np.nan, 0.2, np.nan], equal_nan=True)
    assert np.array_equal(second["concept"], [np.nan, 0.4, np.nan], equal_nan=True)
    assert first["fluency"].tolist() == [1, 1, 1] and second["fluency"].tolist() == [0.5] * 3

"""Tasks of several parts: metrics within each, intervals over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn.metrics import roc_auc_score

from results import leaderboard
from results.metrics import HARD, by_part, mean_auroc
from results.record import Answers, joined
from results.stats import over_parts
from tests.results.test_record import CELL, record


def answers(part: str, n: int = 40, seed: int = 0, hard: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    score = rng.normal(size=n) + truth
    kinds = [HARD if i < 2 * hard and not y else ("positive" if y else "negative") for i, y in enumerate(truth)]
    return Answers(
        (part,) * n, tuple(f"{part}{i}" for i in range(n)), np.arange(n), truth, np.stack([-score, score], 1)[None],
        None, tuple(kinds),
    )  # fmt: skip


def test_metrics_are_taken_within_parts() -> None:
    shifted = answers("b", seed=2)
    parts = [answers("a", seed=1), replace(shifted, score=np.add(shifted.score, [0, 50.0]))]
    both = joined(parts)
    expected = [roc_auc_score(p.truth, p.score[0, :, 1] - p.score[0, :, 0]) for p in parts]
    assert by_part([both], [both])["auroc"][0] == pytest.approx(expected)
    assert mean_auroc(both) == pytest.approx(np.mean(expected))  # and not that of all rows in one heap
    assert abs(mean_auroc(both) - roc_auc_score(both.truth, both.score[0, :, 1] - both.score[0, :, 0])) > 0.05
    assert [p.part[0] for p in both.by_part()] == ["a", "b"]
    np.testing.assert_array_equal(both.by_part()[1].score, parts[1].score)
    assert joined(parts[:1]) is parts[0]


def test_auroc_with_and_without_hard_negatives() -> None:
    parts = [answers("a", seed=1, hard=6), answers("b", seed=2)]
    both = joined(parts)
    easy = np.array([kind != HARD for kind in parts[0].stratum or ()])
    found = {name: values[0] for name, values in by_part([both], [both]).items()}
    score = parts[0].score[0, :, 1]
    assert found["auroc_without_hard_negatives"][0] == pytest.approx(roc_auc_score(parts[0].truth[easy], score[easy]))
    assert found["auroc_without_hard_negatives"][0] != found["auroc"][0]
    assert found["auroc_without_hard_negatives"][1] == found["auroc"][1]  # has none to leave out
    none = joined([answers("a"), answers("b")])
    assert np.isnan(by_part([none], [none])["auroc_without_hard_negatives"]).all()


def test_intervals_are_over_parts() -> None:
    values = np.random.default_rng(0).uniform(0.6, 0.9, size=(1, 12))
    found = over_parts(values)
    low, high = scipy_stats.t.interval(0.95, 11, values.mean(), scipy_stats.sem(values[0]))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert over_parts(values[:, :1]).low is None
    seeds = over_parts(np.concatenate([values, values + 0.05]))
    assert seeds.variance == pytest.approx(scipy_stats.sem(values[0]) ** 2 + 0.05**2 / 4)


def test_a_suite_on_the_leaderboard() -> None:
    suite = [answers(name, seed=i, hard=3) for i, name in enumerate("abcde")]
    records = [record(replace(CELL, seed=seed), test=joined(suite), dev=joined(suite)) for seed in (0, 1)]
    table = leaderboard.build(records)[0]
    task = table.tasks[0]
    contender = table.contenders[0]
    score = table.find(task, contender)
    assert score is not None and score.groups == 5 and score.estimate.low is not None
    assert score.estimate.value == pytest.approx(mean_auroc(records[0].test))  # type: ignore[arg-type]
    assert table.find(task, contender, "auroc_without_hard_negatives") is not None

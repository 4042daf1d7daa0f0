"""Intervals against closed forms, scipy and statsmodels, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm

from results import stats
from results.stats import Estimate, bootstrap_weights, over_seeds, over_tasks


def test_weights_draw_whole_groups_and_keep_every_strata_size() -> None:
    group = np.repeat(np.arange(30), 3)
    truth = np.repeat(np.arange(30) % 2, 3)
    weights = bootstrap_weights(group, truth)
    assert weights.shape == (stats.RESAMPLES, 90)
    assert (weights.reshape(-1, 30, 3).std(2) == 0).all()
    assert (weights[:, truth == 1].sum(1) == 45).all()


def test_weights_are_the_same_every_time_and_differ_between_test_sets() -> None:
    group, truth = np.arange(20), np.arange(20) % 2
    np.testing.assert_array_equal(bootstrap_weights(group, truth), bootstrap_weights(group, truth))
    assert (bootstrap_weights(group, truth) != bootstrap_weights(group, 1 - truth)).any()


def test_the_clustered_standard_error_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 4)
    value = rng.normal(size=60)[group] + rng.normal(size=240)
    weights = bootstrap_weights(group, np.zeros(240, dtype=int))
    resampled = (weights @ value) / weights.sum(1)
    ours = over_seeds(np.array([value.mean()]), resampled[None], groups=60)
    fitted = sm.OLS(value, np.ones(240)).fit(cov_type="cluster", cov_kwds={"groups": group})
    assert ours.variance is not None
    assert ours.variance**0.5 == pytest.approx(fitted.bse[0], rel=0.1)
    naive = value.std() / 240**0.5
    assert ours.variance**0.5 > 1.4 * naive


def test_the_bootstrap_interval_of_an_auroc_is_that_of_scipy() -> None:
    from results.metrics import auroc

    rng = np.random.default_rng(1)
    truth = np.arange(200) % 2
    score = np.stack([np.zeros(200), rng.normal(size=200) + truth], 1)
    weights = bootstrap_weights(np.arange(200), truth)
    ours = over_seeds(auroc(truth, score), auroc(truth, score, weights)[None], groups=200)

    def area(positive: np.ndarray, negative: np.ndarray, axis: int = -1) -> float:
        return scipy.stats.mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))

    theirs = scipy.stats.bootstrap(
        (score[truth == 1, 1], score[truth == 0, 1]), area, vectorized=False, method="percentile",
        n_resamples=1000, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)


def test_with_seeds_alone_it_is_a_t_interval() -> None:
    values = np.array([0.70, 0.74, 0.69, 0.75])
    ours = over_seeds(values, np.repeat(values[:, None], 1000, axis=1), groups=50)
    low, high = scipy.stats.t.interval(0.95, 3, values.mean(), scipy.stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_one_seed_adds_no_seed_variance_and_one_group_gives_no_interval() -> None:
    resampled = np.random.default_rng(0).normal(0.7, 0.02, (1, 1000))
    one = over_seeds(np.array([0.7]), resampled, groups=30)
    assert one.high is not None
    assert one.high - 0.7 == pytest.approx(1.96 * 0.02, rel=0.1)
    assert over_seeds(np.array([0.7]), resampled, groups=1).low is None


def test_intervals_cover() -> None:
    """The true value lies inside about 95 of 100 intervals, over examples and seeds."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        examples, seeds = rng.normal(0.5, 0.01), rng.normal(0, 0.01, 5)
        resampled = np.tile(rng.normal(examples, 0.01, 1000), (5, 1)) + seeds[:, None]
        e = over_seeds(examples + seeds, resampled, groups=50)
        assert e.low is not None and e.high is not None
        hits += e.low <= 0.5 <= e.high
    assert 0.92 <= hits / 300 <= 0.99


def test_across_many_families_it_is_a_t_interval_over_their_means() -> None:
    values = [0.6, 0.7, 0.8, 0.65, 0.75, 0.9, 0.5, 0.55]
    families = ["a", "a", "b", "c", "d", "e", "f", "f"]
    ours = over_tasks([Estimate(v, 0, 1, 1e-4, np.inf) for v in values], families)
    means = [0.65, 0.8, 0.65, 0.75, 0.9, 0.525]
    low, high = scipy.stats.t.interval(0.95, 5, np.mean(means), scipy.stats.sem(means))
    assert (ours.value, ours.low, ours.high) == pytest.approx((np.mean(means), low, high))


def test_across_few_families_it_speaks_of_these_tasks_alone() -> None:
    ours = over_tasks([Estimate(v, 0, 1, 4e-4, np.inf) for v in (0.6, 0.9)], ["a", "b"])
    assert ours.value == 0.75
    assert ours.high == pytest.approx(0.75 + 1.96 * (2 * 4e-4) ** 0.5 / 2, rel=1e-3)


def test_intervals_stay_in_range() -> None:
    wide = over_seeds(np.array([0.2, 0.9]), np.repeat([[0.2], [0.9]], 1000, axis=1), groups=30)
    assert (wide.low, wide.high) == (0.0, 1.0)

"""Intervals against closed forms, scipy and statsmodels, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
import statsmodels.api as sm

from results import ranking
from results.ranking import by_class, macro
from results.stats import Clusters, Estimate, clusters, over_families, over_seeds, over_tasks


def alone(groups: int) -> Clusters:
    """Groups of one row and one class."""
    return clusters(np.arange(groups), np.zeros(groups, dtype=int))


def test_groups_are_told_apart_by_the_classes_that_they_hold() -> None:
    found = clusters(np.array([7, 7, 3, 3, 5, 5]), np.array([0, 1, 1, 1, 1, 1]))
    assert found.of_row.tolist() == [2, 2, 0, 0, 1, 1]
    assert found.sums(np.arange(6.0)).tolist() == [5, 9, 1]
    assert found.stratum.tolist() == [0, 0, 0]  # few of a kind are drawn from together
    mixed = clusters(np.repeat(np.arange(20), 2), np.r_[np.zeros(14, int), np.ones(14, int), np.tile([0, 1], 6)])
    assert [len(set(mixed.stratum[part].tolist())) for part in (slice(0, 7), slice(7, 14), slice(14, 20))] == [1, 1, 1]
    assert len(set(mixed.stratum.tolist())) == 3
    lone = clusters(np.repeat(np.arange(15), 2), np.r_[np.zeros(12, int), np.ones(16, int), [0, 1]])
    assert lone.stratum[14] == lone.stratum[7] != lone.stratum[0]  # with the largest


def test_intervals_cover_where_groups_hold_many_mixtures_of_classes() -> None:
    """100 groups of five rows in ten classes: hardly two hold the same classes, and each varies all the same."""
    rng = np.random.default_rng(2)

    def drawn(groups: int) -> tuple[np.ndarray, np.ndarray, Clusters]:
        truth = rng.integers(0, 10, 5 * groups)
        base = rng.normal(size=(5 * groups, 10)) + np.eye(10)[truth]
        found = macro(ranking.auroc, by_class(truth, base + 0.3 * rng.normal(size=(3, 5 * groups, 10))))
        among = clusters(np.repeat(np.arange(groups), 5), truth)
        return found.value, among.sums(found.influence), among

    true = np.mean([drawn(1500)[0].mean() for _ in range(4)])
    estimates = [over_seeds(*drawn(100)) for _ in range(200)]
    hits = [e.low <= true <= e.high for e in estimates if e.low is not None and e.high is not None]
    assert len(hits) == 200 and 0.91 <= np.mean(hits) <= 0.99


def test_what_stands_on_few_groups_has_a_wide_interval_or_none() -> None:
    among, influence = alone(200), np.zeros((3, 200))
    perfect = over_seeds(np.ones(3), influence, among)
    assert (perfect.low, perfect.high, perfect.effective) == (None, None, 0.0)
    constant = over_seeds(np.full(3, 0.5), influence, among)
    assert (constant.low, constant.high) == (0.5, 0.5)
    influence[:, :2] = 0.01
    assert over_seeds(np.full(3, 0.98), influence, among).low is None
    influence[:, :6] = 0.01
    six = over_seeds(np.full(3, 0.9), influence, among)
    assert six.effective == pytest.approx(6)
    assert six.freedom == pytest.approx(2 / (1 / 6 - 1 / 200) - 1)


def test_degrees_of_freedom_are_those_of_a_variance_of_normals() -> None:
    influence = np.random.default_rng(1).normal(size=(1, 4000))
    found = over_seeds(np.array([0.5]), influence / 1e6, alone(4000))
    assert found.freedom == pytest.approx(3999, rel=0.15)


def test_the_clustered_standard_error_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 4)
    value = rng.normal(size=60)[group] + rng.normal(size=240)
    among = clusters(group, np.zeros(240, dtype=int))
    influence = among.sums((value - value.mean()) / 240)
    ours = over_seeds(np.array([value.mean()]), influence[None], among)
    fitted = sm.OLS(value, np.ones(240)).fit(cov_type="cluster", cov_kwds={"groups": group})
    assert ours.variance is not None
    assert ours.variance**0.5 == pytest.approx(fitted.bse[0], rel=0.01)
    naive = value.std() / 240**0.5
    assert ours.variance**0.5 > 1.4 * naive


def test_the_variance_of_a_difference_within_strata_is_that_of_a_t_test() -> None:
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1], [30, 50])
    value = rng.normal(size=80)
    means = [value[truth == c].mean() for c in (0, 1)]
    influence = np.where(truth == 1, (value - means[1]) / 50, -(value - means[0]) / 30)
    expected = value[truth == 1].var(ddof=1) / 50 + value[truth == 0].var(ddof=1) / 30
    ours = clusters(np.arange(80), truth).variance(influence)
    assert ours == pytest.approx(expected)


def test_the_interval_of_an_auroc_is_that_of_a_bootstrap() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(200) % 2
    score = np.stack([np.zeros(200), rng.normal(size=200) + truth], 1)
    among = clusters(np.arange(200), truth)
    found = macro(ranking.auroc, by_class(truth, score[None]))
    ours = over_seeds(found.value, among.sums(found.influence), among)

    def area(positive: np.ndarray, negative: np.ndarray, axis: int = -1) -> float:
        return scipy.stats.mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))

    theirs = scipy.stats.bootstrap(
        (score[truth == 1, 1], score[truth == 0, 1]), area, vectorized=False, method="percentile",
        n_resamples=1000, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)


def test_with_seeds_alone_it_is_a_t_interval() -> None:
    values = np.array([0.70, 0.74, 0.69, 0.75])
    ours = over_seeds(values, np.zeros((4, 50)), alone(50))
    low, high = scipy.stats.t.interval(0.95, 3, values.mean(), scipy.stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_one_seed_adds_no_seed_variance_and_one_group_gives_no_interval() -> None:
    influence = np.random.default_rng(0).normal(0, 0.02 / 30**0.5, (1, 30))
    one = over_seeds(np.array([0.7]), influence, alone(30))
    assert one.high is not None
    assert one.high - 0.7 == pytest.approx(scipy.special.stdtrit(one.freedom, 0.975) * influence.std(ddof=1) * 30**0.5)
    assert 10 < one.freedom < 60
    assert over_seeds(np.array([0.7]), influence[:, :1], alone(1)).low is None


def test_intervals_cover() -> None:
    """The true value lies inside about 95 of 100 intervals, over examples and seeds."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        rows, seeds = rng.normal(0.5, 0.05, 25), rng.normal(0, 0.01, 5)
        e = over_seeds(rows.mean() + seeds, np.tile((rows - rows.mean()) / 25, (5, 1)), alone(25))
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


@pytest.mark.parametrize("families", [6, 8, 16])
def test_intervals_over_families_cover(families: int) -> None:
    """Families of one to three tasks, differences of their own, and the noise of examples and seeds on each."""
    rng = np.random.default_rng(families)
    hits = 0
    for _ in range(500):
        of = [f"f{number}" for number in range(families) for _ in range(rng.integers(1, 4))]
        own = dict(zip(sorted(set(of)), rng.normal(-0.02, 0.03, families), strict=True))
        gaps = np.array([own[name] for name in of]) + rng.normal(0, 0.015, len(of))
        e = over_families(gaps, of)
        assert e is not None and e.low is not None and e.high is not None
        hits += e.low <= -0.02 <= e.high
    assert 0.93 <= hits / 500 <= 0.97
    assert over_families(np.zeros(4), ["a", "b", "c", "d"]) is None  # too few


def test_across_few_families_it_speaks_of_these_tasks_alone() -> None:
    ours = over_tasks([Estimate(v, 0, 1, 4e-4, np.inf) for v in (0.6, 0.9)], ["a", "b"])
    assert ours.value == 0.75
    assert ours.high == pytest.approx(0.75 + 1.96 * (2 * 4e-4) ** 0.5 / 2, rel=1e-3)


def test_intervals_stay_in_range() -> None:
    wide = over_seeds(np.array([0.2, 0.9]), np.zeros((2, 30)), alone(30))
    assert (wide.low, wide.high) == (0.0, 1.0)

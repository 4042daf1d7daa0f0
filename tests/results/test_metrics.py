"""Metrics against scikit-learn; thresholds and calibration from out-of-fold answers alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from results import ranking
from results.calibration import calibrators, thresholds
from results.metrics import METRICS, answered, auroc, evaluate
from results.ranking import by_class, macro
from results.record import Answers
from results.stats import clusters, over_seeds


def answers(n: int, classes: int = 2, seed: int = 0, ties: bool = False, draws: int = 1) -> Answers:
    rng = np.random.default_rng(seed)
    truth = np.r_[np.arange(classes), rng.integers(0, classes, n - classes)]
    score = rng.normal(size=(draws, n, classes)) + np.eye(classes)[truth]
    if ties:
        score = score.round()
    return Answers(("t",) * n, tuple(map(str, range(n))), np.arange(n), truth, score)


def area(measure: Callable[[ranking.Ranked], ranking.Measure], truth: np.ndarray, score: np.ndarray) -> float:
    return float(macro(measure, by_class(truth, score[None])).value[0])


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_with_and_without_ties(ties: bool) -> None:
    a = answers(200, ties=ties)
    gap = a.score[0][:, 1] - a.score[0][:, 0]
    assert auroc(a.truth, a.score[0]) == pytest.approx(sk.roc_auc_score(a.truth, gap))


def test_macro_auroc() -> None:
    a = answers(200, classes=4)
    expected = [sk.roc_auc_score(a.truth == c, a.score[0][:, c]) for c in range(4)]
    assert auroc(a.truth, a.score[0]) == pytest.approx(np.mean(expected))


def test_without_a_class_it_is_no_number() -> None:
    assert np.isnan(auroc(np.array([0, 0]), np.array([[0, 1.0], [1, 0]])))


@pytest.mark.parametrize("classes", [2, 3])
def test_decisions_and_probabilities(classes: int) -> None:
    test, dev = answers(300, classes), answers(200, classes, seed=1)
    got = {k: v.value[0] for k, v in evaluate([test], [dev]).items()}
    a = answered([test], [dev])
    average = "binary" if classes == 2 else "macro"
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(a.truth, a.decision["accuracy"][0]))
    assert got["f1"] == pytest.approx(sk.f1_score(a.truth, a.decision["f1"][0], average=average))
    assert got["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(a.truth, a.decision["balanced_accuracy"][0])
    )
    np.testing.assert_allclose(a.probability[0].sum(1), 1)
    if classes == 2:
        assert got["brier"] == pytest.approx(sk.brier_score_loss(a.truth, a.probability[0, :, 1]))
    assert set(got) == set(METRICS)


def test_ece_of_a_calibrated_and_of_an_overconfident_answer() -> None:
    rng = np.random.default_rng(3)
    n = 20_000
    p = rng.uniform(0.02, 0.98, n)
    truth = (rng.uniform(size=n) < p).astype(int)
    logits = np.log(p / (1 - p))
    score = np.stack([np.zeros(n), logits], 1)[None]
    sure = np.stack([np.zeros(n), 10 * logits], 1)[None]
    make = lambda s: Answers(("t",) * n, tuple(map(str, range(n))), np.arange(n), truth, s)  # noqa: E731
    assert evaluate([make(score)], [make(score)])["ece"].value[0] < 0.02
    assert evaluate([make(sure)], [make(sure)])["ece"].value[0] < 0.02  # calibration undoes the scale
    assert evaluate([make(sure)], [make(score)])["ece"].value[0] > 0.1  # unless dev answers lacked it


@pytest.mark.parametrize("classes", [2, 3])
def test_contenders_measured_together_are_as_each_alone(classes: int) -> None:
    """Of any number of draws, chosen on other out-of-fold rows, tied or not."""
    strata = ("a", "hard negative", "a") * 20
    tests = [answers(60, classes, seed, ties=seed == 2, draws=1 + seed) for seed in range(4)]
    tests = [replace(t, truth=tests[0].truth, stratum=strata) for t in tests]
    devs = [answers(40, classes, seed=9 + seed % 2, draws=1 + seed) for seed in range(4)]
    together = evaluate(tests, devs)
    for k, (test, dev) in enumerate(zip(tests, devs, strict=True)):
        for metric, alone in evaluate([test], [dev]).items():
            np.testing.assert_allclose(together[metric].value[k], alone.value[0], rtol=1e-9)
            np.testing.assert_allclose(together[metric].influence[k], alone.influence[0], atol=1e-12)


def test_thresholds_never_look_at_the_test() -> None:
    test, dev = answers(300), answers(200, seed=1)
    flipped = Answers(test.part, test.id, test.group, 1 - test.truth, test.score)
    for metric in ("accuracy", "f1", "balanced_accuracy"):
        np.testing.assert_array_equal(
            answered([test], [dev]).decision[metric][0], answered([flipped], [dev]).decision[metric][0]
        )


def test_the_threshold_is_the_best_out_of_fold() -> None:
    dev = answers(200, seed=1)
    gap = dev.score[0][:, 1] - dev.score[0][:, 0]
    best = max(np.mean((gap > cut) == dev.truth) for cut in [*gap, gap.min() - 1])
    own = answered([dev], [dev]).decision["accuracy"][0]
    assert np.mean(own == dev.truth) == pytest.approx(best)


@pytest.mark.parametrize("classes", [2, 3])
def test_calibration_is_a_logistic_regression(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    test, dev = answers(100, classes), answers(200, classes, seed=1)
    raw = [np.diff(a.score[0], axis=1) if classes == 2 else a.score[0] for a in (dev, test)]
    fit, asked = ((x - raw[0].mean(0)) / raw[0].std(0) for x in raw)
    theirs = LogisticRegression(C=100, tol=1e-8, max_iter=5000).fit(fit, dev.truth)
    np.testing.assert_allclose(answered([test], [dev]).probability[0], theirs.predict_proba(asked), atol=5e-3)


def test_many_classes_are_calibrated_one_by_one() -> None:
    """Of 77 classes one regression would have 6,006 weights, and their square in memory for each scoring."""
    rng = np.random.default_rng(3)
    truth = np.tile(np.arange(77), 20)
    score = rng.normal(size=(2, len(truth), 77)) + 4 * np.eye(77)[truth]
    score[1] *= np.linspace(1, 50, 77)  # columns on scales of their own
    told = calibrators(score, truth).probabilities(score)
    assert told.shape == score.shape and np.allclose(told.sum(2), 1)
    for each in told:
        assert sk.accuracy_score(truth, each.argmax(1)) > 0.9
        assert sk.log_loss(truth, each) < 0.5  # that of the classes' shares is 4.3
    constant = calibrators(np.zeros((1, 77, 77)), np.arange(77)).probabilities(np.zeros((1, 1, 77)))
    assert np.allclose(constant, 1 / 77)


def test_constant_scores_are_chance_not_an_error() -> None:
    n = 40
    constant = Answers(("t",) * n, tuple(map(str, range(n))), np.arange(n), np.arange(n) % 4 // 3, np.ones((1, n, 2)))
    got = {k: v.value[0] for k, v in evaluate([constant], [constant]).items()}
    assert got["auroc"] == 0.5
    assert got["accuracy"] == 0.75
    assert got["ece"] == pytest.approx(0, abs=1e-3)


def test_draws_are_averaged_as_metrics_not_as_scores() -> None:
    test, dev = answers(100, draws=5), answers(100, seed=1, draws=5)
    each = [auroc(test.truth, s) for s in test.score]
    assert evaluate([test], [dev])["auroc"].value[0] == pytest.approx(np.mean(each))
    assert auroc(test.truth, test.score.mean(0)) > np.mean(each) + 0.05


@pytest.mark.parametrize("seed", range(5))
def test_auprc_and_tpr_agree_with_scikit_learn(seed: int) -> None:
    from sklearn.metrics import average_precision_score, roc_curve

    rng = np.random.default_rng(seed)
    truth = (rng.random(300) < 0.2).astype(int)
    margin = np.round(rng.normal(size=300) + truth, 1)  # ties
    score = np.stack([np.zeros(300), margin], axis=1)
    assert area(ranking.auprc, truth, score) == pytest.approx(average_precision_score(truth, margin))
    fpr, tpr, _ = roc_curve(truth, margin, drop_intermediate=False)
    above = np.searchsorted(fpr, 0.01, side="right")
    share = (0.01 - fpr[above - 1]) / (fpr[above] - fpr[above - 1])
    assert area(ranking.tpr_at_fpr, truth, score) == pytest.approx(
        tpr[above - 1] + share * (tpr[above] - tpr[above - 1])
    )


@pytest.mark.parametrize("measure", [ranking.auroc, ranking.auprc, ranking.tpr_at_fpr])
def test_areas_of_perfect_scores_are_one(measure: Callable[[ranking.Ranked], ranking.Measure]) -> None:
    truth = np.arange(90) % 3
    assert area(measure, truth, np.eye(3)[truth]) == pytest.approx(1.0)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", [m for m in METRICS if m != "tpr_at_1_fpr"])
def test_influence_is_what_a_copy_of_a_row_changes(metric: str, ties: bool, classes: int) -> None:
    """Of 400 copies of the rows, one more copy of a row moves the metric by its influence / 400."""
    copies, n = 400, 30
    strata = ("a", "a", "hard negative", "a", "hard negative") * (n // 5)
    test, dev = answers(n, classes, ties=ties), answers(60, classes, seed=1)
    found = evaluate([with_rows(test, np.arange(n), strata)], [dev])[metric]
    assert abs(found.influence.sum()) < 1e-9
    whole = np.tile(np.arange(n), copies)
    for row in (0, 1, 2, 11):
        more = evaluate([with_rows(test, np.r_[whole, row], strata)], [dev])[metric].value[0]
        assert (more - found.value[0]) * copies == pytest.approx(found.influence[0, row], abs=2e-3)


def with_rows(a: Answers, rows: np.ndarray, strata: tuple[str, ...]) -> Answers:
    ids = tuple(map(str, range(len(rows))))
    names = tuple(strata[row] for row in rows)
    return Answers(("t",) * len(rows), ids, np.arange(len(rows)), a.truth[rows], a.score[:, rows], None, names)


def test_without_negatives_above_the_cut_the_error_of_a_rate_is_not_known() -> None:
    truth = np.arange(400) % 2
    found = ranking.tpr_at_fpr(ranking.ranked(truth == 1, np.random.default_rng(0).normal(size=(1, 400))))
    assert np.isfinite(found.value).all() and np.isnan(found.influence).all()
    among = clusters(np.arange(400), truth)
    e = over_seeds(found.value, among.sums(found.influence), among)
    assert (e.low, e.high, e.variance) == (None, None, None)


def test_the_error_of_a_rate_at_few_false_positives_is_not_below_that_of_a_bootstrap() -> None:
    rng = np.random.default_rng(3)
    truth = np.arange(2000) % 2
    margin = rng.normal(size=2000) + 1.5 * truth
    found = ranking.tpr_at_fpr(ranking.ranked(truth == 1, margin[None]))
    drawn = []
    for _ in range(400):
        rows = np.concatenate([rng.choice(np.flatnonzero(truth == c), 1000) for c in (0, 1)])
        drawn.append(ranking.tpr_at_fpr(ranking.ranked(truth[rows] == 1, margin[None, rows])).value[0])
    assert 0.9 < (found.influence**2).sum() ** 0.5 / np.std(drawn) < 1.6


def test_worst_group_is_the_lowest_accuracy_of_a_large_enough_subpopulation() -> None:
    truth = np.tile([0, 1], 30)
    score = np.stack([1.0 - truth, truth.astype(float)], axis=1)
    score[40:52] = score[40:52, ::-1]  # 12 of the 20 rows of b are wrong
    names = ("a",) * 40 + ("b",) * 15 + ("c",) * 5
    test = Answers(("p",) * 60, tuple(map(str, range(60))), np.arange(60), truth, score[None], None, names)
    clean = np.stack([1.0 - truth, truth.astype(float)], axis=1)
    dev = Answers(("p",) * 60, tuple(map(str, range(60))), np.arange(60), truth, clean[None])
    assert evaluate([test], [dev])["worst_group_accuracy"].value[0] == pytest.approx(3 / 15)
    without = Answers(test.part, test.id, test.group, truth, test.score)
    assert np.isnan(evaluate([without], [dev])["worst_group_accuracy"].value[0])


def test_of_equally_good_thresholds_the_middle_one_is_taken() -> None:
    truth = np.arange(10) % 2
    cut = thresholds(np.arange(10)[None] / 10, truth)["accuracy"]
    assert cut == pytest.approx([0.45])  # of .05, .25, .45, .65, .85

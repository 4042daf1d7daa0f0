"""Metrics, derived from raw answers at read time. A new one costs no new run.

Thresholds and calibration use only the out-of-fold answers. Every metric takes resampling weights, so
that a bootstrap is one call: answers of n rows and weights [B, n] give [B] values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize
from scipy.special import log_softmax, softmax

from results.record import Answers

BINS = 15  # of the expected calibration error (Guo et al. 2017)
FALSE_POSITIVES = 0.01  # the rate at which the true-positive rate is read
FEWEST_OF_STRATUM = 10  # smaller subpopulations say nothing of their own


@dataclass(frozen=True)
class Answered:
    """One draw of a contender on one test: scores, calibrated probabilities, decisions per metric."""

    truth: np.ndarray  # [n]
    score: np.ndarray  # [n, classes]
    probability: np.ndarray  # [n, classes]
    decision: dict[str, np.ndarray]  # metric -> [n] predicted class
    stratum: np.ndarray | None = None  # [n] names of subpopulations


@dataclass(frozen=True)
class Metric:
    """`compute(answered, weights [B, n]) -> [B]`; `better` is 'higher' or 'lower'."""

    compute: Callable[[Answered, np.ndarray], np.ndarray]
    better: str = "higher"


def auroc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve, [B]; macro one-vs-rest where there are more than two classes.

    truth [n] class ids, score [n, classes], weights [B, n] (None: each row once). For two classes the
    difference of the two columns ranks the rows. Ties count a half. NaN where a class has no weight.
    """
    return _one_vs_rest(_binary_auroc, truth, score, weights)


def _binary_auroc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    up = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    down = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    total = up.sum(1) * down.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, (up * below).sum(1) / total, np.nan))


def auprc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the precision-recall curve as average precision, [B]; macro one-vs-rest beyond two classes.

    sum over thresholds of (recall step) x precision, tied scores taken together, as in scikit-learn.
    """
    return _one_vs_rest(_binary_auprc, truth, score, weights)


def _binary_auprc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    up, down = _by_threshold(positive, score, weights)
    hits, alarms = np.cumsum(up, axis=1), np.cumsum(down, axis=1)
    total = hits[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(hits + alarms > 0, hits / (hits + alarms), 0.0)
        return np.asarray(np.where((total > 0) & (alarms[:, -1] > 0), (up * precision).sum(1) / total, np.nan))


def tpr_at_fpr(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """True-positive rate at 1 % false positives, [B], read off the ROC curve between its points; macro
    one-vs-rest beyond two classes."""
    return _one_vs_rest(_binary_tpr, truth, score, weights)


def _binary_tpr(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    up, down = _by_threshold(positive, score, weights)
    hits, alarms = np.cumsum(up, axis=1), np.cumsum(down, axis=1)
    start = np.zeros((len(weights), 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        x = np.c_[start, alarms / alarms[:, -1:]]
        y = np.c_[start, hits / hits[:, -1:]]
    # The last point at or below the rate: where the curve is vertical there, its upper end.
    below = (x <= FALSE_POSITIVES).sum(1, keepdims=True) - 1
    above = np.minimum(below + 1, x.shape[1] - 1)
    (x0, x1), (y0, y1) = ([np.take_along_axis(v, i, 1)[:, 0] for i in (below, above)] for v in (x, y))
    slope = (y1 - y0) / np.where(x1 > x0, x1 - x0, 1.0)
    both = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
    return np.asarray(np.where(both, y0 + slope * (FALSE_POSITIVES - x0), np.nan))


def _one_vs_rest(
    binary: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    truth: np.ndarray,
    score: np.ndarray,
    weights: np.ndarray | None,
) -> np.ndarray:
    weights = np.ones((1, len(truth))) if weights is None else weights
    if score.shape[1] == 2:
        return binary(truth == 1, score[:, 1] - score[:, 0], weights)
    return np.asarray(np.mean([binary(truth == c, score[:, c], weights) for c in range(score.shape[1])], axis=0))


def _by_threshold(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and negatives at each distinct score from the highest down, [B, thresholds] each."""
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) < 0])
    up = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    down = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    return up, down


def _worst_group(a: Answered, weights: np.ndarray) -> np.ndarray:
    """Accuracy in the subpopulation where it is lowest, [B]; NaN where the task names none."""
    if a.stratum is None:
        return np.full(len(weights), np.nan)
    names, counts = np.unique(a.stratum, return_counts=True)
    large = names[counts >= FEWEST_OF_STRATUM]
    if not len(large):
        return np.full(len(weights), np.nan)
    right = a.decision["accuracy"] == a.truth
    return np.asarray(np.nanmin([_mean(right, weights * (a.stratum == name)) for name in large], axis=0))


def _accuracy(a: Answered, weights: np.ndarray) -> np.ndarray:
    return _mean(a.decision["accuracy"] == a.truth, weights)


def _balanced_accuracy(a: Answered, weights: np.ndarray) -> np.ndarray:
    decision = a.decision["balanced_accuracy"]
    recalls = [_mean(decision == a.truth, weights * (a.truth == c)) for c in range(a.score.shape[1])]
    return np.asarray(np.mean(recalls, axis=0))


def _f1(a: Answered, weights: np.ndarray) -> np.ndarray:
    """F1 of class 1, or the macro average where there are more than two classes."""
    decision, classes = a.decision["f1"], a.score.shape[1]
    values = []
    for c in [1] if classes == 2 else range(classes):
        hit = (weights * ((decision == c) & (a.truth == c))).sum(1)
        said = (weights * (decision == c)).sum(1)
        true = (weights * (a.truth == c)).sum(1)
        values.append(np.where(said + true > 0, 2 * hit / np.maximum(said + true, 1e-12), 0.0))
    return np.asarray(np.mean(values, axis=0))


def _ece(a: Answered, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error of the likeliest class over equal-width bins."""
    confidence = a.probability.max(1)
    right = a.probability.argmax(1) == a.truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.zeros(len(weights))
    for b in np.unique(bins):
        inside = weights * (bins == b)
        gaps += np.abs((inside * (confidence - right)).sum(1))
    return np.asarray(gaps / weights.sum(1))


def _brier(a: Answered, weights: np.ndarray) -> np.ndarray:
    """Half the squared distance to the truth, so that two classes give the usual (p - y)^2."""
    truth = np.eye(a.score.shape[1])[a.truth]
    return _mean(((a.probability - truth) ** 2).sum(1) / 2, weights)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, (weights * values).sum(1) / total, np.nan))


METRICS: dict[str, Metric] = {
    "auroc": Metric(lambda a, w: auroc(a.truth, a.score, w)),
    "auprc": Metric(lambda a, w: auprc(a.truth, a.score, w)),
    "tpr_at_1_fpr": Metric(lambda a, w: tpr_at_fpr(a.truth, a.score, w)),
    "accuracy": Metric(_accuracy),
    "f1": Metric(_f1),
    "balanced_accuracy": Metric(_balanced_accuracy),
    "ece": Metric(_ece, better="lower"),
    "brier": Metric(_brier, better="lower"),
    "worst_group_accuracy": Metric(_worst_group),
}


def evaluate(test: Answers, dev: Answers, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Every metric on the test answers, [B] each, averaged over the contender's draws."""
    weights = np.ones((1, len(test.truth))) if weights is None else weights
    draws = [answered(test, dev, draw) for draw in range(len(test.score))]
    return {
        name: np.asarray(np.mean([metric.compute(a, weights) for a in draws], axis=0))
        for name, metric in METRICS.items()
    }


def answered(test: Answers, dev: Answers, draw: int) -> Answered:
    """One draw's answers, calibrated and thresholded on its out-of-fold answers."""
    model = _calibrator(dev.score[draw], dev.truth)
    probability = _probabilities(model, test.score[draw])
    decision = {}
    if test.score.shape[2] == 2:
        out_of_fold = _probabilities(model, dev.score[draw])[:, 1]
        for name in ("accuracy", "f1", "balanced_accuracy"):
            threshold = _threshold(name, out_of_fold, dev.truth)
            decision[name] = (probability[:, 1] > threshold).astype(int)
    else:
        decision = dict.fromkeys(("accuracy", "f1", "balanced_accuracy"), probability.argmax(1))
    stratum = None if test.stratum is None else np.array(test.stratum)
    return Answered(test.truth, test.score[draw], probability, decision, stratum)


@dataclass(frozen=True)
class _Calibrator:
    centre: np.ndarray  # [features]
    scale: np.ndarray  # [features]
    weights: np.ndarray  # [features + 1, classes], the intercepts last


def _calibrator(score: np.ndarray, truth: np.ndarray) -> _Calibrator:
    """Platt scaling: a multinomial logistic regression on the standardised scores (their difference for two).

    A ridge of 0.005 |w|^2 keeps separable scores finite; intercepts are free, so that constant scores give
    the classes' shares.
    """
    features, classes = _features(score), score.shape[1]
    centre, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    design = np.c_[(features - centre) / scale, np.ones(len(truth))]
    target = np.eye(classes)[truth]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(design.shape[1], classes)
        log_p = log_softmax(design @ w, axis=1)
        ridge = np.r_[w[:-1], np.zeros((1, classes))]
        value = -(target * log_p).sum() + 0.005 * (ridge**2).sum()
        return float(value), (design.T @ (np.exp(log_p) - target) + 0.01 * ridge).ravel()

    start = np.zeros(design.shape[1] * classes)
    solved = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return _Calibrator(centre, scale, solved.x.reshape(design.shape[1], classes))


def _probabilities(c: _Calibrator, score: np.ndarray) -> np.ndarray:
    design = np.c_[(_features(score) - c.centre) / c.scale, np.ones(len(score))]
    return np.asarray(softmax(design @ c.weights, axis=1))


def _features(score: np.ndarray) -> np.ndarray:
    return score[:, 1:] - score[:, :1] if score.shape[1] == 2 else score


def _threshold(metric: str, probability: np.ndarray, truth: np.ndarray) -> float:
    """The cut on the probability of class 1 that is best out of fold; the middle one among the best."""
    values = np.unique(probability)
    cuts = np.r_[values[0] - 1e-6, (values[1:] + values[:-1]) / 2, values[-1] + 1e-6]
    said = probability[None, :] > cuts[:, None]
    hit = (said & (truth == 1)).sum(1)
    true, all_said = (truth == 1).sum(), said.sum(1)
    if metric == "accuracy":
        quality = hit + (~said & (truth == 0)).sum(1)
    elif metric == "f1":
        quality = 2 * hit / np.maximum(all_said + true, 1)
    else:
        quality = hit / max(true, 1) + (~said & (truth == 0)).sum(1) / max((truth == 0).sum(), 1)
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    return float(cuts[best[len(best) // 2]])

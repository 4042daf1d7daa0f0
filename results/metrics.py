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
HARD = "hard negative"  # the subpopulation of negatives that were made to look like positives
FEWEST_OF_STRATUM = 10  # smaller subpopulations say nothing of their own


@dataclass
class Answered:
    """One draw of a contender on one test: scores, calibrated probabilities, decisions per metric."""

    truth: np.ndarray  # [n]
    score: np.ndarray  # [n, classes]
    probability: np.ndarray  # [n, classes]
    decision: dict[str, np.ndarray]  # metric -> [n] predicted class
    stratum: np.ndarray | None = None  # [n] names of subpopulations
    _ranked: tuple[np.ndarray, list[Curve]] | None = None

    def ranked(self, weights: np.ndarray) -> list[Curve]:
        """The curves under some weights, made once for all metrics that read them."""
        if self._ranked is None or self._ranked[0] is not weights:
            self._ranked = (weights, curves(self.truth, self.score, weights))
        return self._ranked[1]


@dataclass(frozen=True)
class Metric:
    """`compute(answered, weights [B, n]) -> [B]`; `better` is 'higher' or 'lower'."""

    compute: Callable[[Answered, np.ndarray], np.ndarray]
    better: str = "higher"


@dataclass(frozen=True)
class Curve:
    """One class against the rest: weight of its rows and of the others at each distinct score, from the highest
    down, and their running sums; [B, thresholds] each."""

    up: np.ndarray
    down: np.ndarray
    hits: np.ndarray
    alarms: np.ndarray

    @property
    def both(self) -> np.ndarray:
        """Where both kinds of rows have weight, [B] bool."""
        return np.asarray((self.hits[:, -1] > 0) & (self.alarms[:, -1] > 0))


def curves(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> list[Curve]:
    """The curve of class 1 by the difference of the two columns, or one per class where there are more."""
    if score.shape[1] == 2:
        return [_curve(truth == 1, score[:, 1] - score[:, 0], weights)]
    return [_curve(truth == c, score[:, c], weights) for c in range(score.shape[1])]


def _curve(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> Curve:
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) < 0])
    ranked, mine = weights[:, order], positive[order]
    up, down = ranked * mine, ranked * ~mine
    if len(starts) < len(order):  # ties are taken together
        up, down = np.add.reduceat(up, starts, axis=1), np.add.reduceat(down, starts, axis=1)
    return Curve(up, down, np.cumsum(up, axis=1), np.cumsum(down, axis=1))


def auroc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve, [B]; macro one-vs-rest where there are more than two classes.

    truth [n] class ids, score [n, classes], weights [B, n] (None: each row once). For two classes the
    difference of the two columns ranks the rows. Ties count a half. NaN where a class has no weight.
    """
    return _macro(_auroc, curves(truth, score, _each(truth, weights)))


def auprc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the precision-recall curve as average precision, [B]; macro one-vs-rest beyond two classes.

    sum over thresholds of (recall step) x precision, tied scores taken together, as in scikit-learn.
    """
    return _macro(_auprc, curves(truth, score, _each(truth, weights)))


def tpr_at_fpr(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """True-positive rate at 1 % false positives, [B], read off the ROC curve between its points; macro
    one-vs-rest beyond two classes."""
    return _macro(_tpr, curves(truth, score, _each(truth, weights)))


def _auroc(c: Curve) -> np.ndarray:
    below = c.alarms[:, -1:] - c.alarms + c.down / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        area = np.einsum("bt,bt->b", c.up, below) / (c.hits[:, -1] * c.alarms[:, -1])
    return np.asarray(np.where(c.both, area, np.nan))


def _auprc(c: Curve) -> np.ndarray:
    precision = c.hits / np.maximum(c.hits + c.alarms, 1e-12)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(c.both, np.einsum("bt,bt->b", c.up, precision) / c.hits[:, -1], np.nan))


def _tpr(c: Curve) -> np.ndarray:
    start = np.zeros((len(c.hits), 1))
    hits, alarms = np.c_[start, c.hits], np.c_[start, c.alarms]
    # The last point at or below the rate: where the curve is vertical there, its upper end.
    below = (alarms <= FALSE_POSITIVES * alarms[:, -1:]).sum(1, keepdims=True) - 1
    above = np.minimum(below + 1, alarms.shape[1] - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        (x0, x1), (y0, y1) = (
            [np.take_along_axis(v, i, 1)[:, 0] / v[:, -1] for i in (below, above)] for v in (alarms, hits)
        )
        slope = (y1 - y0) / np.where(x1 > x0, x1 - x0, 1.0)
        return np.asarray(np.where(c.both, y0 + slope * (FALSE_POSITIVES - x0), np.nan))


def _macro(binary: Callable[[Curve], np.ndarray], found: list[Curve]) -> np.ndarray:
    return np.asarray(np.mean([binary(c) for c in found], axis=0))


def _each(truth: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.ones((1, len(truth))) if weights is None else weights


def _worst_group(a: Answered, weights: np.ndarray) -> np.ndarray:
    """Accuracy in the subpopulation where it is lowest, [B]; NaN where the task names none."""
    if a.stratum is None:
        return np.full(len(weights), np.nan)
    names, counts = np.unique(a.stratum, return_counts=True)
    large = names[counts >= FEWEST_OF_STRATUM]
    if not len(large):
        return np.full(len(weights), np.nan)
    right = a.decision["accuracy"] == a.truth
    return np.asarray(np.nanmin([_mean(right, weights, a.stratum == name) for name in large], axis=0))


def _accuracy(a: Answered, weights: np.ndarray) -> np.ndarray:
    return _mean(a.decision["accuracy"] == a.truth, weights)


def _balanced_accuracy(a: Answered, weights: np.ndarray) -> np.ndarray:
    decision = a.decision["balanced_accuracy"]
    recalls = [_mean(decision == a.truth, weights, a.truth == c) for c in range(a.score.shape[1])]
    return np.asarray(np.mean(recalls, axis=0))


def _f1(a: Answered, weights: np.ndarray) -> np.ndarray:
    """F1 of class 1, or the macro average where there are more than two classes."""
    decision, classes = a.decision["f1"], a.score.shape[1]
    values = []
    for c in [1] if classes == 2 else range(classes):
        hit = weights @ ((decision == c) & (a.truth == c)).astype(float)
        said = weights @ (decision == c).astype(float)
        true = weights @ (a.truth == c).astype(float)
        values.append(np.where(said + true > 0, 2 * hit / np.maximum(said + true, 1e-12), 0.0))
    return np.asarray(np.mean(values, axis=0))


def _ece(a: Answered, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error of the likeliest class over equal-width bins."""
    confidence = a.probability.max(1)
    right = a.probability.argmax(1) == a.truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.zeros((len(bins), BINS))
    gaps[np.arange(len(bins)), bins] = confidence - right
    return np.asarray(np.abs(weights @ gaps).sum(1) / weights.sum(1))


def _brier(a: Answered, weights: np.ndarray) -> np.ndarray:
    """Half the squared distance to the truth, so that two classes give the usual (p - y)^2."""
    truth = np.eye(a.score.shape[1])[a.truth]
    return _mean(((a.probability - truth) ** 2).sum(1) / 2, weights)


def _mean(values: np.ndarray, weights: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Weighted mean over the rows `among` (None: all), [B]; NaN where they have no weight."""
    rows = np.ones(len(values)) if among is None else among.astype(float)
    total = weights @ rows
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, weights @ (values * rows) / total, np.nan))


def _auroc_without_hard(a: Answered, weights: np.ndarray) -> np.ndarray:
    """AUROC on all rows but the hard negatives, [B]; NaN where the task names none."""
    if a.stratum is None or HARD not in a.stratum:
        return np.full(len(weights), np.nan)
    easy = a.stratum != HARD
    return auroc(a.truth[easy], a.score[easy], weights[:, easy])


METRICS: dict[str, Metric] = {
    "auroc": Metric(lambda a, w: _macro(_auroc, a.ranked(w))),
    "auroc_without_hard_negatives": Metric(_auroc_without_hard),
    "auprc": Metric(lambda a, w: _macro(_auprc, a.ranked(w))),
    "tpr_at_1_fpr": Metric(lambda a, w: _macro(_tpr, a.ranked(w))),
    "accuracy": Metric(_accuracy),
    "f1": Metric(_f1),
    "balanced_accuracy": Metric(_balanced_accuracy),
    "ece": Metric(_ece, better="lower"),
    "brier": Metric(_brier, better="lower"),
    "worst_group_accuracy": Metric(_worst_group),
}


def mean_auroc(answers: Answers) -> float:
    """AUROC within each part, averaged over draws and parts."""
    parts = answers.by_part()
    return float(np.mean([auroc(part.truth, draw)[0] for part in parts for draw in part.score]))


def by_part(test: Answers, dev: Answers) -> dict[str, np.ndarray]:
    """Every metric within each part of a task, [parts] each."""
    found = [evaluate(t, d) for t, d in zip(test.by_part(), dev.by_part(), strict=True)]
    values = {name: np.array([float(part[name][0]) for part in found]) for name in METRICS}
    if test.stratum is not None and HARD in test.stratum:  # in some parts: the others have nothing to leave out
        without = values["auroc_without_hard_negatives"]
        values["auroc_without_hard_negatives"] = np.where(np.isnan(without), values["auroc"], without)
    return values


def evaluate(test: Answers, dev: Answers, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Every metric on the test answers of one part, [B] each, averaged over the contender's draws."""
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

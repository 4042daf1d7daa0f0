"""Metrics, derived from raw answers at read time. A new one costs no new run.

Thresholds and calibration use only the out-of-fold answers. Every metric tells what each row contributes to it, from
which intervals come in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from results import ranking
from results.calibration import calibrator, threshold
from results.ranking import Measure, Ranked, by_class, macro
from results.record import Answers

BINS = 15  # of the expected calibration error (Guo et al. 2017)
HARD = "hard negative"  # the subpopulation of negatives that were made to look like positives
FEWEST_OF_STRATUM = 10  # smaller subpopulations say nothing of their own
DECIDED = ("accuracy", "f1", "balanced_accuracy")  # metrics with a threshold of their own


@dataclass
class Answered:
    """A contender's draws [R] on one test: scores, calibrated probabilities, decisions per metric."""

    truth: np.ndarray  # [n]
    score: np.ndarray  # [R, n, classes]
    probability: np.ndarray  # [R, n, classes]
    decision: dict[str, np.ndarray]  # metric -> [R, n] predicted class
    stratum: np.ndarray | None = None  # [n] names of subpopulations

    @cached_property
    def ranks(self) -> list[Ranked]:
        """Made once for all metrics that read them."""
        return by_class(self.truth, self.score)


@dataclass(frozen=True)
class Metric:
    """`compute(answered) -> Measure`; `better` is 'higher' or 'lower'."""

    compute: Callable[[Answered], Measure]
    better: str = "higher"


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve; macro one-vs-rest where there are more than two classes.

    truth [n] class ids, score [n, classes]. For two classes the difference of the two columns ranks the rows. Ties
    count a half. NaN where a class is empty.
    """
    return float(macro(ranking.auroc, by_class(truth, score[None])).value[0])


def mean_auroc(answers: Answers) -> float:
    """AUROC within each part, averaged over draws and parts."""
    each = [macro(ranking.auroc, by_class(part.truth, part.score)).value for part in answers.by_part()]
    return float(np.mean(each))


def by_part(test: Answers, dev: Answers) -> dict[str, np.ndarray]:
    """Every metric within each part of a task, [parts] each."""
    found = [evaluate(t, d) for t, d in zip(test.by_part(), dev.by_part(), strict=True)]
    values = {name: np.array([float(part[name].value[0]) for part in found]) for name in METRICS}
    if test.stratum is not None and HARD in test.stratum:  # in some parts: the others have nothing to leave out
        without = values["auroc_without_hard_negatives"]
        values["auroc_without_hard_negatives"] = np.where(np.isnan(without), values["auroc"], without)
    return values


def evaluate(test: Answers, dev: Answers) -> dict[str, Measure]:
    """Every metric on the test answers of one part, averaged over the contender's draws: R is 1."""
    a = answered(test, dev)
    return {name: _over_draws(metric.compute(a)) for name, metric in METRICS.items()}


def answered(test: Answers, dev: Answers) -> Answered:
    """The draws' answers, each calibrated and thresholded on its own out-of-fold answers."""
    models = [calibrator(score, dev.truth) for score in dev.score]
    probability = np.stack([m.probabilities(score) for m, score in zip(models, test.score, strict=True)])
    decision = dict.fromkeys(DECIDED, probability.argmax(2))
    if test.score.shape[2] == 2:
        out_of_fold = [m.probabilities(score)[:, 1] for m, score in zip(models, dev.score, strict=True)]
        for name in DECIDED:
            cuts = np.array([threshold(name, p, dev.truth) for p in out_of_fold])
            decision[name] = (probability[..., 1] > cuts[:, None]).astype(int)
    stratum = None if test.stratum is None else np.array(test.stratum)
    return Answered(test.truth, test.score, probability, decision, stratum)


def _over_draws(m: Measure) -> Measure:
    return Measure(m.value.mean(0, keepdims=True), m.influence.mean(0, keepdims=True))


def _share(values: np.ndarray, among: np.ndarray | None = None) -> Measure:
    """Mean of values [R, n] over the rows `among` [n] (None: all)."""
    rows = np.ones(values.shape[1]) if among is None else among.astype(float)
    total = rows.sum()
    if not total:
        return _unknown(values)
    mean = values @ rows / total
    return Measure(mean, (values - mean[:, None]) * rows / total)


def _unknown(like: np.ndarray) -> Measure:
    """What is no number, for scorings [R, n]."""
    return Measure(np.full(len(like), np.nan), np.full(like.shape[:2], np.nan))


def _accuracy(a: Answered) -> Measure:
    return _share(a.decision["accuracy"] == a.truth)


def _worst_group(a: Answered) -> Measure:
    """Accuracy in the subpopulation where it is lowest; no number where the task names none."""
    right = a.decision["accuracy"] == a.truth
    if a.stratum is None:
        return _unknown(right)
    names, counts = np.unique(a.stratum, return_counts=True)
    found = [_share(right, a.stratum == name) for name in names[counts >= FEWEST_OF_STRATUM]]
    if not found:
        return _unknown(right)
    lowest, draws = np.argmin([m.value for m in found], axis=0), range(len(right))
    return Measure(
        np.array([found[k].value[r] for r, k in zip(draws, lowest, strict=True)]),
        np.array([found[k].influence[r] for r, k in zip(draws, lowest, strict=True)]),
    )


def _balanced_accuracy(a: Answered) -> Measure:
    decision = a.decision["balanced_accuracy"]
    recalls = [_share(decision == a.truth, a.truth == c) for c in range(a.score.shape[2])]
    return Measure(np.mean([m.value for m in recalls], axis=0), np.mean([m.influence for m in recalls], axis=0))


def _f1(a: Answered) -> Measure:
    """F1 of class 1, or the macro average where there are more than two classes."""
    decision, classes = a.decision["f1"], a.score.shape[2]
    found = []
    for c in [1] if classes == 2 else range(classes):
        twice_hit = 2.0 * ((decision == c) & (a.truth == c))
        both = 1.0 * (decision == c) + (a.truth == c)
        total = np.maximum(both.sum(1, keepdims=True), 1e-12)
        value = twice_hit.sum(1, keepdims=True) / total
        found.append(Measure(value[:, 0], (twice_hit - value * both) / total))
    return Measure(np.mean([m.value for m in found], axis=0), np.mean([m.influence for m in found], axis=0))


def _ece(a: Answered) -> Measure:
    """Expected calibration error of the likeliest class over equal-width bins."""
    confidence = a.probability.max(2)
    gaps = confidence - (a.probability.argmax(2) == a.truth)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    sums = np.stack([(gaps * (bins == b)).sum(1) for b in range(BINS)], axis=1)
    value = np.abs(sums).sum(1) / gaps.shape[1]
    signed = np.take_along_axis(np.sign(sums), bins, 1) * gaps
    return Measure(value, (signed - value[:, None]) / gaps.shape[1])


def _brier(a: Answered) -> Measure:
    """Half the squared distance to the truth, so that two classes give the usual (p - y)^2."""
    return _share(((a.probability - np.eye(a.score.shape[2])[a.truth]) ** 2).sum(2) / 2)


def _auroc_without_hard(a: Answered) -> Measure:
    """AUROC on all rows but the hard negatives; no number where the task names none."""
    if a.stratum is None or HARD not in a.stratum:
        return _unknown(a.score[..., 0])
    easy = a.stratum != HARD
    found = macro(ranking.auroc, by_class(a.truth[easy], a.score[:, easy]))
    influence = np.zeros(a.score.shape[:2])
    influence[:, easy] = found.influence
    return Measure(found.value, influence)


METRICS: dict[str, Metric] = {
    "auroc": Metric(lambda a: macro(ranking.auroc, a.ranks)),
    "auroc_without_hard_negatives": Metric(_auroc_without_hard),
    "auprc": Metric(lambda a: macro(ranking.auprc, a.ranks)),
    "tpr_at_1_fpr": Metric(lambda a: macro(ranking.tpr_at_fpr, a.ranks)),
    "accuracy": Metric(_accuracy),
    "f1": Metric(_f1),
    "balanced_accuracy": Metric(_balanced_accuracy),
    "ece": Metric(_ece, better="lower"),
    "brier": Metric(_brier, better="lower"),
    "worst_group_accuracy": Metric(_worst_group),
}

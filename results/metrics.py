"""Metrics, derived from raw answers at read time. A new one costs no new run.

Thresholds and calibration use only the out-of-fold answers. Every metric tells what each row contributes to it, from
which intervals come in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from results import ranking
from results.calibration import calibrators, thresholds
from results.ranking import Measure, Ranked, by_class, macro
from results.record import Answers

BINS = 15  # of the expected calibration error (Guo et al. 2017)
HARD = "hard negative"  # the subpopulation of negatives that were made to look like positives
FEWEST_OF_STRATUM = 10  # smaller subpopulations say nothing of their own
DECIDED = ("accuracy", "f1", "balanced_accuracy")  # metrics with a threshold of their own


@dataclass
class Answered:
    """R scorings of one test's rows (contenders' draws): scores, calibrated probabilities, decisions per metric."""

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


def by_part(tests: Sequence[Answers], devs: Sequence[Answers]) -> dict[str, np.ndarray]:
    """Every metric of K contenders within each part of a task that all answered, [K, parts] each."""
    each = zip(*(t.by_part() for t in tests), strict=True), zip(*(d.by_part() for d in devs), strict=True)
    found = [evaluate(test, dev) for test, dev in zip(*each, strict=True)]
    values = {name: np.stack([part[name].value for part in found], axis=1) for name in METRICS}
    stratum = tests[0].stratum
    if stratum is not None and HARD in stratum:  # in some parts: the others have nothing to leave out
        without = values["auroc_without_hard_negatives"]
        values["auroc_without_hard_negatives"] = np.where(np.isnan(without), values["auroc"], without)
    return values


def evaluate(tests: Sequence[Answers], devs: Sequence[Answers]) -> dict[str, Measure]:
    """Every metric of K contenders' answers to the same test rows of one part, each averaged over its draws."""
    a = answered(tests, devs)
    draws = [len(t.score) for t in tests]
    return {name: _over_draws(metric.compute(a), draws) for name, metric in METRICS.items()}


def answered(tests: Sequence[Answers], devs: Sequence[Answers]) -> Answered:
    """All draws of all contenders, each calibrated and thresholded on its own out-of-fold answers."""
    first = tests[0]
    score = np.concatenate([t.score for t in tests])
    probability = np.empty_like(score)
    decision = {name: np.empty(score.shape[:2], dtype=int) for name in DECIDED}
    for places, out_of_fold, truth in _alike(devs):
        model = calibrators(out_of_fold, truth)
        probability[places] = found = model.probabilities(score[places])
        cuts = thresholds(model.probabilities(out_of_fold)[..., 1], truth) if score.shape[2] == 2 else {}
        for name in DECIDED:
            decision[name][places] = found[..., 1] > cuts[name][:, None] if cuts else found.argmax(2)
    stratum = None if first.stratum is None else np.array(first.stratum)
    return Answered(first.truth, score, probability, decision, stratum)


def _alike(devs: Sequence[Answers]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Out-of-fold answers stacked where they are to rows of the same truth: places among all draws, scores, truth."""
    starts = np.cumsum([0, *(len(d.score) for d in devs)])
    found: dict[bytes, list[int]] = {}
    for i, dev in enumerate(devs):
        found.setdefault(dev.truth.tobytes(), []).append(i)
    return [
        (
            np.concatenate([np.arange(starts[i], starts[i + 1]) for i in mine]),
            np.concatenate([devs[i].score for i in mine]),
            devs[mine[0]].truth,
        )
        for mine in found.values()
    ]


def _over_draws(m: Measure, draws: Sequence[int]) -> Measure:
    """Means over each contender's draws; most have one."""
    if max(draws) == 1:
        return m
    starts, counts = np.cumsum([0, *draws[:-1]]), np.array(draws)
    return Measure(np.add.reduceat(m.value, starts) / counts, np.add.reduceat(m.influence, starts) / counts[:, None])


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
    bins += (np.arange(len(bins)) * BINS)[:, None]  # a scoring's own
    sums = np.bincount(bins.ravel(), gaps.ravel(), BINS * len(bins))
    value = np.abs(sums).reshape(-1, BINS).sum(1) / gaps.shape[1]
    signed = np.sign(sums)[bins] * gaps
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

"""Areas under curves, and what every row contributes to them.

Each function takes scorings of the same rows and gives a `Measure`: the value of each, and the derivative of that value
by each row's weight at 1 (the infinitesimal jackknife: Jaeckel 1972, Efron 1982), from which intervals come in closed
form. Tied scores are taken together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

FALSE_POSITIVES = 0.01  # the rate at which the true-positive rate is read
FEWEST_ABOVE = 5  # negatives above the cut, for its error to be known


@dataclass(frozen=True)
class Measure:
    """A metric of R scorings of n rows. value [R]; influence [R, n], summing to 0 over the rows."""

    value: np.ndarray
    influence: np.ndarray


@dataclass(frozen=True)
class Ranked:
    """Rows from the highest score down, [R, n] each.

    order: the rows. positive: whether they are of the class. first, last: where the tie that a row stands in begins
    and ends. hits, alarms: positives and negatives down to the end of that tie.
    """

    order: np.ndarray
    positive: np.ndarray
    first: np.ndarray
    last: np.ndarray
    hits: np.ndarray
    alarms: np.ndarray

    def by_row(self, values: np.ndarray) -> np.ndarray:
        """Values in the order of the ranks, put back in the order of the rows."""
        found = np.empty(values.shape)
        found.ravel()[_flat(self.order)] = values
        return found


def ranked(positive: np.ndarray, margin: np.ndarray) -> Ranked:
    """positive [n] bool, margin [R, n]."""
    order = np.argsort(-margin, axis=1)
    mine = positive[order]
    places = np.broadcast_to(np.arange(margin.shape[1]), margin.shape)
    first, last = _ties(np.diff(_along(margin, order), axis=1) < 0, places)
    hits = _along(np.cumsum(mine, axis=1), last)
    return Ranked(order, mine, first, last, hits, last + 1 - hits)


def auroc(r: Ranked) -> Measure:
    """Area under the ROC curve: the chance that a positive stands above a negative, ties a half (DeLong et al.)."""
    positives, negatives = r.hits[:, -1:], r.alarms[:, -1:]
    above_hits, above_alarms = (_before(counts, r.first) for counts in (r.hits, r.alarms))
    with np.errstate(invalid="ignore", divide="ignore"):
        beaten = (negatives - (r.alarms + above_alarms) / 2) / negatives
        beating = (r.hits + above_hits) / 2 / positives
        area = (beaten * r.positive).sum(1, keepdims=True) / positives
        influence = np.where(r.positive, (beaten - area) / positives, (beating - area) / negatives)
    return _known(r, area[:, 0], influence)


def auprc(r: Ranked) -> Measure:
    """Area under the precision-recall curve as average precision: sum of (recall step) x precision."""
    positives, said = r.hits[:, -1:], r.hits + r.alarms
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = r.hits / said
        area = (precision * r.positive).sum(1, keepdims=True) / positives
        # A row's weight moves the precision of every positive from its own tie downwards.
        up, down = (_from(np.where(r.positive, counts / said**2, 0.0), r.first) for counts in (r.alarms, r.hits))
        influence = np.where(r.positive, precision - area + up, -down) / positives
    return _known(r, area[:, 0], influence)


def tpr_at_fpr(r: Ranked, rate: float = FALSE_POSITIVES) -> Measure:
    """True-positive rate at a false-positive rate, read off the ROC curve between its points.

    Its influence has the curve's slope there (Pepe 2003), for which the secant from 0 to twice the rate stands: rough,
    on the wide side; not known with fewer than five negatives above the cut.
    """
    positives, negatives = r.hits[:, -1:], r.alarms[:, -1:]
    value, said = _read_off(r, rate)
    slope = (_read_off(r, 2 * rate)[0] - _read_off(r, 0.0)[0]) / (2 * rate)
    with np.errstate(invalid="ignore", divide="ignore"):
        mine = (said - value[:, None]) / positives
        others = -slope[:, None] * (said - (said & ~r.positive).sum(1, keepdims=True) / negatives) / negatives
    influence = np.where(r.positive, mine - _mean_of(mine, r.positive), others)
    return _known(r, value, np.where(rate * negatives >= FEWEST_ABOVE, influence, np.nan))


def macro(
    measure: Callable[[Ranked], Measure], ranks: Sequence[Ranked]
) -> Measure:  # one per class, or one alone where there are two classes
    """Mean over classes, each against the rest."""
    found = [measure(r) for r in ranks]
    return Measure(
        np.asarray(np.mean([m.value for m in found], axis=0)), np.asarray(np.mean([m.influence for m in found], axis=0))
    )


def by_class(truth: np.ndarray, score: np.ndarray) -> list[Ranked]:
    """truth [n], score [R, n, classes]: ranks of class 1 by the difference of the two columns, or of each class."""
    if score.shape[2] == 2:
        return [ranked(truth == 1, score[..., 1] - score[..., 0])]
    return [ranked(truth == c, score[..., c]) for c in range(score.shape[2])]


def _ties(falls: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the tie of each place begins and ends, from whether the next place lies below, [R, n - 1]."""
    if falls.all():
        return places, places
    edge = np.ones((len(falls), 1), dtype=bool)
    first = np.maximum.accumulate(np.where(np.c_[edge, falls], places, 0), axis=1)
    last = np.minimum.accumulate(np.where(np.c_[falls, edge], places, places[:, -1:])[:, ::-1], axis=1)[:, ::-1]
    return first, last


def _flat(places: np.ndarray) -> np.ndarray:
    """Places within rows [R, k], as places in the whole of n a row where k is n."""
    return np.asarray(places + (np.arange(len(places)) * places.shape[1])[:, None])


def _along(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """np.take_along_axis of [R, n] and [R, n], in a third of the time."""
    return np.asarray(values.ravel().take(_flat(places)))


def _before(counts: np.ndarray, first: np.ndarray) -> np.ndarray:
    """What stands above the tie of each place, [R, n]."""
    return np.where(first > 0, _along(counts, np.maximum(first - 1, 0)), 0)


def _from(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sums from the beginning of each place's tie to the end, [R, n]."""
    return _along(np.cumsum(values[:, ::-1], axis=1)[:, ::-1], first)


def _read_off(r: Ranked, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """The curve's height at a false-positive rate, [R], and which places stand above the cut, [R, n] bool."""
    positives, negatives = r.hits[:, -1], r.alarms[:, -1]
    said = r.alarms <= rate * negatives[:, None] + 1e-9
    count = said.sum(1)  # ties end together, so these are the first places
    points = np.c_[np.zeros(len(said)), r.alarms], np.c_[np.zeros(len(said)), r.hits]
    beyond = np.take_along_axis(r.last, np.minimum(count, said.shape[1] - 1)[:, None], 1)[:, 0] + 1
    (x0, x1), (y0, y1) = ([np.take_along_axis(p, i[:, None], 1)[:, 0] for i in (count, beyond)] for p in points)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(x1 > x0, (rate * negatives - x0) / np.where(x1 > x0, x1 - x0, 1.0), 0.0)
        return (y0 + share * (y1 - y0)) / positives, said


def _mean_of(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    return np.asarray((values * among).sum(1, keepdims=True) / np.maximum(among.sum(1, keepdims=True), 1))


def _known(r: Ranked, value: np.ndarray, influence: np.ndarray) -> Measure:
    """No number where a class is empty."""
    both = (r.hits[:, -1] > 0) & (r.alarms[:, -1] > 0)
    return Measure(np.where(both, value, np.nan), r.by_row(np.where(both[:, None], influence, np.nan)))

"""Honest intervals: clusters of examples are the unit, seeds are averaged first, their variance is added by t.

The variance over other examples is that of a class-stratified cluster bootstrap, in the closed form that the bootstrap
tends to (the infinitesimal jackknife, Efron 1982): no resample, no noise of resampling, the same bytes every time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import special
from scipy.optimize import brentq

LEVEL = 0.95
MANY = 1e4  # degrees of freedom from which a t distribution is a normal one
FEWEST_GROUPS = 20
FEWEST_OF_CLASS = 10
FEWEST_FAMILIES = 6
FEWEST_SEEDS = 3
FEWEST_FOR_INTERVAL = 3  # groups that a value stands on (see Clusters.effective)
FEWEST_EFFECTIVE = 10  # that a difference stands on; with fewer its variance is hardly known
FEWEST_TO_TIE = 30  # that a tie stands on: equivalence leans on the variance more than a difference does
FEWEST_OF_STRATUM = 5  # groups; smaller strata are drawn from together


@dataclass(frozen=True)
class Estimate:
    """A mean with a 95 % interval; low and high are None where they cannot be told."""

    value: float
    low: float | None
    high: float | None
    variance: float | None  # of the mean
    freedom: float  # degrees of freedom of that variance
    effective: float = np.inf  # groups that the value stands on, where it is one of groups
    terms: tuple[tuple[float, float], ...] = ()  # variances and their degrees of freedom, for Cochran's rule

    @property
    def error(self) -> float:
        """Standard error of the mean; 0 where there is none to go by."""
        known = self.variance and math.isfinite(self.value) and math.isfinite(self.variance)
        return self.variance**0.5 if self.variance and known else 0.0

    @property
    def parts(self) -> tuple[tuple[float, float], ...]:
        """What the variance is made of, as p values go by it."""
        return self.terms or ((float(self.variance or 0.0), self.freedom),)


@dataclass(frozen=True)
class Clusters:
    """The groups of a test's rows, and for each the stratum that it stands in: the classes that it holds."""

    of_row: np.ndarray  # [n] index of the row's group
    stratum: np.ndarray  # [G]
    rarest: int  # groups that hold the class that the fewest hold

    @property
    def count(self) -> int:
        return len(self.stratum)

    def sums(self, influence: np.ndarray) -> np.ndarray:
        """Influences of rows [..., n] added within groups, [..., G]."""
        flat = influence.reshape(-1, influence.shape[-1])
        places = self.of_row + (np.arange(len(flat)) * self.count)[:, None]
        found = np.bincount(places.ravel(), flat.ravel(), self.count * len(flat))
        return found.reshape(*influence.shape[:-1], self.count)

    def variance(self, influence: np.ndarray) -> np.ndarray:
        """Of metrics whose groups have these influences [..., G]: groups are drawn anew within each stratum."""
        sizes = self._holds.sum(0)
        several = sizes > 1  # one group alone tells nothing of others
        squares = influence**2 @ self._holds - (influence @ self._holds) ** 2 / sizes
        each = squares * (sizes / np.maximum(sizes - 1, 1))
        return np.asarray(each[..., several].clip(min=0).sum(-1))

    def effective(self, influence: np.ndarray) -> np.ndarray:
        """Groups that metrics with these influences [..., G] stand on: as many of equal influence would be as telling
        (sum of squares, squared, over the sum of fourth powers). 0 where no group has any."""
        squares = influence**2
        total = squares.sum(-1)
        return np.asarray(np.where(total > 0, total**2 / np.maximum((squares**2).sum(-1), 1e-300), 0.0))

    @cached_property
    def _holds(self) -> np.ndarray:
        """[G, strata], 1 where a stratum holds a group."""
        return np.asarray(np.eye(int(self.stratum.max()) + 1)[self.stratum])


def clusters(group: np.ndarray, truth: np.ndarray) -> Clusters:
    """group [n], truth [n] class ids."""
    names, of_row = np.unique(group, return_inverse=True)
    holds = np.zeros((len(names), int(truth.max()) + 1), dtype=bool)
    holds[of_row, truth] = True
    held = holds.sum(0)
    stratum = _pooled(np.unique(holds, axis=0, return_inverse=True)[1].ravel())
    return Clusters(of_row, stratum, int(held[held > 0].min()))


def _pooled(stratum: np.ndarray) -> np.ndarray:
    """Strata of fewer than FEWEST_OF_STRATUM groups made one, and where that is small too, one with the largest: a
    group that stands alone would be drawn every time, and so tell nothing of others."""
    sizes = np.bincount(stratum)
    small = sizes[stratum] < FEWEST_OF_STRATUM
    if not small.any():
        return stratum
    rest = len(sizes) if small.sum() >= FEWEST_OF_STRATUM else int(sizes.argmax())
    return np.unique(np.where(small, rest, stratum), return_inverse=True)[1].ravel()


def over_seeds(
    values: np.ndarray, influence: np.ndarray, among: Clusters, most: float = 1.0, least: float = 0.0
) -> Estimate:
    """Mean over seeds with an interval for other examples and other seeds, cut at `least` and `most`.

    values [S]; influence [S, G], of each group on each seed's value. Added are the variance of the mean over seeds by
    its mean influences, and that of the seeds / S less what they do to single examples, which the first holds already.
    Degrees of freedom by Cochran's rule, those of the examples from the influences' fourth moment (a variance that few
    groups make up is badly known); the seeds weigh there what they did before the subtraction, as what is left of it is
    known worse than they. No interval where an influence is not known, or where the value stands on very few groups
    (as near a perfect score).
    """
    return each_over_seeds(values[None], influence[None], among, [most], least)[0]


def each_over_seeds(
    values: np.ndarray, influence: np.ndarray, among: Clusters, most: Sequence[float], least: float = 0.0
) -> list[Estimate]:
    """The same of several metrics of the same rows: values [M, S], influence [M, S, G], `most` of each."""
    means, seeds, together = values.mean(1), values.shape[1], influence.mean(1)
    known = np.isfinite(influence).all((1, 2)) & (among.count > 1)
    of_examples, effective = among.variance(together), among.effective(together)
    known &= (effective >= FEWEST_FOR_INTERVAL) | ((effective == 0) & (means < most) & (means > least))  # a constant
    of_seeds = both = np.zeros(len(values))
    if seeds > 1:
        of_seeds = values.var(axis=1, ddof=1) / seeds
        both = among.variance(influence - together[:, None]).sum(1) / (seeds - 1) / seeds
    alone = (of_seeds - both).clip(min=0)
    freedoms = _freedoms(effective, among.count)
    others = np.full(len(values), float(seeds - 1))
    freedom = _cochrans(np.stack([of_examples, of_seeds]), np.stack([freedoms, others]))
    half = special.stdtrit(freedom, 0.5 + LEVEL / 2) * (of_examples + alone) ** 0.5
    lows, highs = np.maximum(means - half, least), np.minimum(means + half, most)
    columns = (means, lows, highs, of_examples + alone, freedom, effective, of_examples, freedoms, of_seeds)
    return [
        Estimate(mean, low, high, variance, f, n, ((a, fa), (b, float(seeds - 1))))
        if tells
        else Estimate(mean, None, None, None, np.inf, n)
        for tells, mean, low, high, variance, f, n, a, fa, b in zip(
            known.tolist(), *(column.tolist() for column in columns), strict=True
        )
    ]


def over_parts(values: np.ndarray, most: float = 1.0, least: float = 0.0) -> Estimate:
    """Mean over seeds and parts with an interval for other parts and other seeds, cut at `least` and `most`.

    values [S, P]. Parts (concepts) are the clusters: the variance of their means over seeds / P, with the seeds' own
    variance / S added; degrees of freedom by Welch-Satterthwaite. The examples' noise is within that of the parts.
    What seeds do to single parts counts twice: with it taken off, 3 seeds that differ much would cover 89 %.
    """
    seeds, parts = values.shape
    mean = float(values.mean())
    if parts < 2:
        return Estimate(mean, None, None, None, np.inf)
    of_parts = float(values.mean(0).var(ddof=1)) / parts
    of_seeds = float(values.mean(1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    return _estimate(mean, of_parts + of_seeds, _welch([(of_parts, parts - 1), (of_seeds, seeds - 1)]), most, least)


def over_tasks(estimates: Sequence[Estimate], families: Sequence[str], most: float = 1.0) -> Estimate:
    """Mean over tasks, each once.

    With FEWEST_FAMILIES families or more: for other tasks, a t interval over the families' means
    (around the mean of families). With fewer, nothing can be said of other tasks: for these tasks
    with other examples and seeds, from the tasks' own variances.
    """
    values = np.array([e.value for e in estimates])
    names = sorted(set(families))
    if len(names) >= FEWEST_FAMILIES:
        means = np.array([values[[f == name for f in families]].mean() for name in names])
        return _estimate(float(means.mean()), float(means.var(ddof=1)) / len(means), len(means) - 1, most)
    mean = float(values.mean())
    if any(e.variance is None for e in estimates):
        return Estimate(mean, None, None, None, np.inf)
    terms = [(float(e.variance or 0) / len(values) ** 2, e.freedom) for e in estimates]
    return _estimate(mean, sum(v for v, _ in terms), _welch(terms), most)


def difference(values: np.ndarray, others: np.ndarray, families: Sequence[str]) -> tuple[float, float, float] | None:
    """Mean difference of two contenders over tasks with a 95 % t interval over the families' means; None where
    there are too few families."""
    e = over_families(np.asarray(values) - np.asarray(others), families)
    return None if e is None or e.low is None or e.high is None else (e.value, e.low, e.high)


def over_families(gaps: np.ndarray, families: Sequence[str]) -> Estimate | None:
    """Mean of differences [tasks] with a t interval over the families' means; None where there are too few families."""
    if len(set(families)) < FEWEST_FAMILIES:
        return None
    means = by_family(gaps, families)
    return _estimate(float(means.mean()), float(means.var(ddof=1)) / len(means), len(means) - 1, np.inf, -np.inf)


def by_family(values: np.ndarray, families: Sequence[str]) -> np.ndarray:
    """Means of values [tasks] within each family, [families], by name."""
    return np.array([values[[f == name for f in families]].mean() for name in sorted(set(families))])


@dataclass(frozen=True)
class Measured:
    """One contender's metric on one task, for each seed, and what tells how far it may lie from other examples'."""

    seeds: tuple[int, ...]
    values: np.ndarray  # [S]
    groups: int  # clusters of the test
    influence: np.ndarray | None = None  # [S, G], of each cluster on each seed's value
    among: Clusters | None = None
    parts: np.ndarray | None = None  # [S, P], within each part of a suite, whose clusters these are


def paired(one: Measured, two: Measured) -> Estimate | None:
    """Difference of two contenders on the same test rows, over the seeds that both have: averaged over seeds, with an
    interval for other examples (of a suite: other parts) and other seeds. None without a seed in common."""
    seeds = [seed for seed in one.seeds if seed in two.seeds]
    if not seeds:
        return None
    mine, others = ([m.seeds.index(seed) for seed in seeds] for m in (one, two))
    if one.parts is not None and two.parts is not None:
        gaps = one.parts[mine] - two.parts[others]
        gaps = gaps[:, np.isfinite(gaps).all(0)]
        return over_parts(gaps, np.inf, -np.inf) if gaps.size else None
    assert one.influence is not None
    assert two.influence is not None
    assert one.among is not None
    gaps = one.values[mine] - two.values[others]
    return over_seeds(gaps, one.influence[mine] - two.influence[others], one.among, np.inf, -np.inf)


def all_paired(pairs: Sequence[tuple[Measured, Measured]]) -> list[Estimate | None]:
    """`paired` of many pairs on the same test rows, at once where all have the same seeds and no parts."""
    alike = {tuple(sorted(m.seeds)) for pair in pairs for m in pair}
    if len(alike) != 1 or any(m.parts is not None for pair in pairs for m in pair):
        return [paired(one, two) for one, two in pairs]
    sides = {id(m): _by_seed(m) for pair in pairs for m in pair}
    values, influence = (np.array([sides[id(a)][i] - sides[id(b)][i] for a, b in pairs]) for i in (0, 1))
    among = pairs[0][0].among
    assert among is not None
    return list(each_over_seeds(values, influence, among, [np.inf] * len(pairs), -np.inf))


def _by_seed(one: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Values [S] and influences [S, G] in the order of the seeds."""
    assert one.influence is not None
    order = np.argsort(one.seeds)
    return one.values[order], one.influence[order]


def above(e: Estimate, margin: float = 0.0) -> float:
    """One-sided p value of the estimate lying above a margin (t test); 1 where it has no variance to go by."""
    if not e.error:
        return 1.0
    return _beyond((e.value - margin) / e.error, e.parts)


def above_all(differences: Sequence[Estimate]) -> float:
    """The largest of the p values of `above`: of standing above every one (intersection-union).

    The tails of its variances' terms bound each p value, so that only those that may be the largest are solved for.
    """
    bounds = [_tails(e.value / e.error, e.parts) if e.error else (1.0, 1.0) for e in differences]
    least = max(low for low, _ in bounds)
    return max(above(e) for e, (_, high) in zip(differences, bounds, strict=True) if high >= least)


def below(e: Estimate, margin: float = 0.0) -> float:
    """One-sided p value of the estimate lying below a margin."""
    return above(replace(e, value=-e.value), -margin)


def equivalent(e: Estimate, margin: float) -> float:
    """p value of a difference lying within +-margin: two one-sided tests (TOST, Schuirmann 1987)."""
    return above(replace(e, value=-abs(e.value)), -margin)  # the larger p value is that of the nearer side


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted so that the family-wise error is held (Holm 1979)."""
    adjusted, worst = [1.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, p[i] * (len(p) - rank)))
        adjusted[i] = worst
    return adjusted


def detectable(e: Estimate, alpha: float = (1 - LEVEL) / 2, power: float = 0.8) -> float | None:
    """The smallest true difference that a one-sided test at alpha would find with this power (noncentral t)."""
    if not e.error:
        return None
    freedom = _cochran(e.parts, 1 - alpha)
    at = special.stdtrit(freedom, 1 - alpha)
    shift = at + special.ndtri(power) if freedom > MANY else special.nctdtrinc(freedom, 1 - power, at)
    return float(shift * e.error)


def power(e: Estimate, effect: float, alpha: float = (1 - LEVEL) / 2) -> float | None:
    """How often a one-sided test at alpha would find a true difference of `effect` (noncentral t)."""
    if not e.error:
        return None
    freedom = _cochran(e.parts, 1 - alpha)
    at, shift = special.stdtrit(freedom, 1 - alpha), effect / e.error
    return float(special.ndtr(shift - at) if freedom > MANY else 1 - special.nctdtr(freedom, shift, at))


def sign_flip(values: np.ndarray) -> float:
    """Two-sided p value of a mean over families [n] being 0: exact permutation of signs up to 2^15, seeded beyond."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n <= 15:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = np.random.default_rng(n).choice([-1, 1], size=(2**15, n))
        signs[0] = 1
    means = np.abs(signs @ values)
    return float((means >= means[0] - 1e-12).mean())


def _cochran(terms: Sequence[tuple[float, float]], tail: float = 0.5 + LEVEL / 2) -> float:
    """Degrees of freedom at which Student's quantile is the mean of the terms' own, by their variances (Cochran 1964).

    Of three seeds the variance is small by luck as often as not, and Welch-Satterthwaite's intervals of 95 % cover as
    few as 90 %; these cover 93 to 98 %.
    """
    variances, freedoms = np.array(terms, dtype=float).T[..., None]
    return float(_cochrans(variances, freedoms, tail)[0])


def _quantile(p: float, terms: Sequence[tuple[float, float]]) -> float:
    """The mean of the terms' own upper quantiles, by their variances; 0 without any."""
    some = [(v, f) for v, f in terms if v > 0 and f > 0]
    return -sum(v * float(special.stdtrit(f, p)) for v, f in some) / (sum(v for v, _ in some) or 1.0)


def _beyond(t: float, terms: Sequence[tuple[float, float]]) -> float:
    """p value of t by Cochran's rule at its own tail: where `_quantile` is t. Degrees of freedom for the 95 % interval
    would be too many far out, where Holm's first steps test."""
    if t < 0:
        return 1 - _beyond(-t, terms)
    least, most = _tails(t, terms)
    if most - least <= 1e-12 * most or least < 1e-300:
        return most
    edges = np.log(least) - 1e-6, np.log(most) + 1e-6  # rounding must not put the root outside
    return float(np.exp(brentq(lambda p: _quantile(float(np.exp(p)), terms) - t, *edges, xtol=1e-7)))


def _tails(t: float, terms: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The least and the largest of the terms' own p values of t, which that of all of them lies between."""
    own = [float(special.stdtr(f, -t)) for v, f in terms if v > 0 and f > 0]
    return min(own), max(own)


def _freedoms(effective: np.ndarray, groups: int) -> np.ndarray:
    """Degrees of freedom of variances over groups: twice a square over its own variance, from the fourth moment of the
    influences (that of normal ones is groups - 1)."""
    spread = 1 / np.maximum(effective, 1.0) - 1 / groups
    return np.where(spread > 1e-9, np.maximum(2 / np.maximum(spread, 1e-9) - 1, 1.0), np.inf)


def _cochrans(variances: np.ndarray, freedoms: np.ndarray, tail: float = 0.5 + LEVEL / 2) -> np.ndarray:
    """`_cochran` of many: variances and degrees of freedom [terms, M], both above 0 where a term counts."""
    counts = (variances > 0) & (freedoms > 0)
    weight = np.where(counts, variances, 0.0)
    total = np.where(counts.any(0), weight.sum(0), 1.0)
    mean = (weight * special.stdtrit(np.where(counts, freedoms, 1.0), tail)).sum(0) / total
    many = ~(mean > special.ndtri(tail) * (1 + 1e-9))
    return np.where(many, np.inf, special.stdtridf(tail, np.where(many, 2.0, mean)))


def _welch(terms: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent variance estimates (Welch-Satterthwaite)."""
    total = sum(v for v, _ in terms)
    shares = sum(v**2 / f for v, f in terms if np.isfinite(f) and f > 0)
    return total**2 / shares if shares > 0 else np.inf


def _estimate(
    mean: float, variance: float, freedom: float, most: float = 1.0, least: float = 0.0, effective: float = np.inf
) -> Estimate:
    half = float(special.stdtrit(freedom, 0.5 + LEVEL / 2)) * variance**0.5
    return Estimate(mean, max(mean - half, least), min(mean + half, most), variance, freedom, effective)

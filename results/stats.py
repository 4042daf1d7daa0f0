"""Honest intervals: clusters resampled, seeds averaged first, their variance added by t.

All randomness is seeded from the data, so that two regenerations are byte-identical.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 1000
LEVEL = 0.95
FEWEST_GROUPS = 20
FEWEST_FAMILIES = 6


@dataclass(frozen=True)
class Estimate:
    """A mean with a 95 % interval; low and high are None where they cannot be told."""

    value: float
    low: float | None
    high: float | None
    variance: float | None  # of the mean
    freedom: float  # degrees of freedom of that variance


def bootstrap_weights(group: np.ndarray, truth: np.ndarray, salt: str = "") -> np.ndarray:
    """How often each row is drawn in each resample, [RESAMPLES, n].

    A cluster bootstrap over groups, stratified by the classes that a group holds, seeded by the rows
    themselves: every contender on one test set meets the same resamples.
    """
    return _drawn(np.asarray(group, np.int64).tobytes(), np.asarray(truth, np.int64).tobytes(), salt)


@functools.lru_cache(maxsize=8)  # contenders on one test set come one after the other
def _drawn(group_bytes: bytes, truth_bytes: bytes, salt: str) -> np.ndarray:
    group, truth = np.frombuffer(group_bytes, np.int64), np.frombuffer(truth_bytes, np.int64)
    content = np.stack([group, truth]).astype(np.int64).tobytes() + salt.encode()
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(content).digest()[:8], "big"))
    names, index = np.unique(group, return_inverse=True)
    holds = np.zeros((len(names), int(truth.max()) + 1), dtype=bool)
    holds[index, truth] = True
    strata = np.unique(holds, axis=0, return_inverse=True)[1]
    counts = np.zeros((RESAMPLES, len(names)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        share = np.full(len(members), 1 / len(members))
        counts[:, members] = rng.multinomial(len(members), share, size=RESAMPLES)
    return counts[:, index]


def over_seeds(values: np.ndarray, resampled: np.ndarray, groups: int) -> Estimate:
    """Mean over seeds with an interval for other examples and other seeds.

    values [S]; resampled [S, B], the same resamples for each seed. The bootstrap variance of the mean
    over seeds and the seeds' own variance / S are added; degrees of freedom by Welch-Satterthwaite.
    """
    mean = float(values.mean())
    if groups < 2:
        return Estimate(mean, None, None, None, np.inf)
    examples = float(np.nanvar(np.nanmean(resampled, axis=0), ddof=1))
    seeds = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
    freedom = _welch([(examples, np.inf), (seeds, len(values) - 1)])
    return _estimate(mean, examples + seeds, freedom)


def over_parts(values: np.ndarray, most: float = 1.0) -> Estimate:
    """Mean over seeds and parts with an interval for other parts and other seeds, cut at 0 and `most`.

    values [S, P]. Parts (concepts) are the clusters: the variance of their means over seeds / P, with the seeds' own
    variance / S added; degrees of freedom by Welch-Satterthwaite. The examples' noise is within that of the parts.
    """
    seeds, parts = values.shape
    mean = float(values.mean())
    if parts < 2:
        return Estimate(mean, None, None, None, np.inf)
    of_parts = float(values.mean(0).var(ddof=1)) / parts
    of_seeds = float(values.mean(1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    return _estimate(mean, of_parts + of_seeds, _welch([(of_parts, parts - 1), (of_seeds, seeds - 1)]), most)


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
    names = sorted(set(families))
    if len(names) < FEWEST_FAMILIES:
        return None
    gaps = np.asarray(values) - np.asarray(others)
    means = np.array([gaps[[f == name for f in families]].mean() for name in names])
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(means) - 1)) * float(means.std(ddof=1)) / len(means) ** 0.5
    return float(means.mean()), float(means.mean()) - half, float(means.mean()) + half


def _welch(terms: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent variance estimates (Welch-Satterthwaite)."""
    total = sum(v for v, _ in terms)
    shares = sum(v**2 / f for v, f in terms if np.isfinite(f) and f > 0)
    return total**2 / shares if shares > 0 else np.inf


def _estimate(mean: float, variance: float, freedom: float, most: float = 1.0) -> Estimate:
    half = float(stats.t.ppf(0.5 + LEVEL / 2, freedom)) * variance**0.5
    return Estimate(mean, max(mean - half, 0.0), min(mean + half, most), variance, freedom)

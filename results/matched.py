"""What steering reaches at equal damage.

Who steers a share q of the answers and leaves the others alone reaches, and breaks, that share of the way from doing
nothing: every mixture of trials, and of doing nothing, can be had. So a contender without a strength has a curve too,
and nothing is extrapolated: beyond its worst trial a contender's curve stays where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.table import UNTOUCHED, Table

NATS = (0.05, 0.1, 0.2, 0.4)  # per token
ABOUT = (
    "The most that a contender reaches while it breaks at most so much (nats per token on answers to neutral "
    "instructions): of its trials, and of mixtures of two of them or of one with doing nothing, a share of the answers "
    "each. Means over concepts by the judge that selects, so that trials which were not chosen count too."
)


@dataclass(frozen=True)
class Matched:
    """A contender's score at each of NATS."""

    contender: str
    scores: tuple[float, ...]


def matched(t: Table) -> list[Matched]:
    """The contenders that have every cell, best in the middle of NATS first; none where doing nothing has no score."""
    still = t.curves.get(UNTOUCHED, ())
    if not still or not t.complete(UNTOUCHED):
        return []
    floor = still[0][1]
    found = [
        Matched(c, tuple(reached([(0.0, floor), *t.curves[c]], nats) for nats in NATS))
        for c in t.contenders
        if t.complete(c) and t.curves.get(c) and c != UNTOUCHED
    ]
    return sorted(found, key=lambda m: (-m.scores[len(NATS) // 2], m.contender))


def reached(points: Sequence[tuple[float, float]], nats: float) -> float:
    """The highest score of a mixture of two points (damage, score) with a damage of at most `nats`."""
    below = [(x, y) for x, y in points if x <= nats]
    above = [(x, y) for x, y in points if x > nats]
    mixed = [y + (nats - x) / (far - x) * (high - y) for x, y in below for far, high in above]
    return max([y for _, y in below] + mixed)

"""Test rows of which a contender was surest: right ones, and wrong ones, where there is most to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from results.metrics import answered
from results.record import Answers, Record

EACH = 2  # right ones, and as many wrong ones


@dataclass(frozen=True)
class Sure:
    """A test row, its class, the one that was said, and its probability as calibrated out of fold."""

    id: str
    truth: str
    said: str
    probability: float

    @property
    def right(self) -> bool:
        return self.truth == self.said


def first_cell(records: Sequence[Record]) -> Record | None:
    """That of the first task's lowest seed, among those that detected; None where there is none."""
    told = [r for r in records if isinstance(r.test, Answers) and isinstance(r.dev, Answers)]
    return min(told, key=lambda r: (r.cell.task["name"], r.cell.seed, r.key), default=None)


def surest(record: Record, each: int = EACH) -> list[Sure]:
    """Of the record's first part: the surest of the wrong rows, then of the right ones; of equals the first."""
    assert isinstance(record.test, Answers)
    assert isinstance(record.dev, Answers)
    test, dev = record.test.by_part()[0], record.dev.by_part()[0]
    probability = answered([test], [dev]).probability.mean(0)
    said = probability.argmax(1)
    order = np.argsort(-probability.max(1), kind="stable")
    right = said == test.truth
    names = [str(name) for name in record.about.get("classes") or ()]

    def named(which: int) -> str:
        return names[which] if which < len(names) else str(which)

    kept = [row for of in (~right, right) for row in order[of[order]][:each].tolist()]
    return [Sure(test.id[i], named(test.truth[i]), named(said[i]), float(probability[i, said[i]])) for i in kept]

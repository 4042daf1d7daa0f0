"""What a record is measured by, whatever its track."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from results import metrics, steering
from results.record import Answers, Record, Rows, Steered

MAIN = {"detect": "auroc", "steer": steering.SCORE}
TITLES = {"auroc": "AUROC", "score": "score"}
BESIDE = {
    "detect": {"accuracy": "accuracy", "ece": "ECE"},
    "steer": {name: name for name in (*steering.PARTS, steering.DAMAGE, *steering.ELSEWHERE)},
}
NAMES = {"detect": tuple(metrics.METRICS), "steer": steering.METRICS}


def most(metric: str) -> float:
    """What a metric cannot exceed."""
    return np.inf if metric in (steering.DAMAGE, steering.PERPLEXITY) else 1.0


def main(rows: Rows) -> float:
    """The track's main metric of some answers: mean AUROC, or mean steering score."""
    return steering.mean_score(rows) if isinstance(rows, Steered) else metrics.mean_auroc(rows)


def by_part(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Every metric of K records of one task within each part, [K, parts]; most tasks have one."""
    tests, devs = [], []
    for r in records:
        if isinstance(r.test, Answers) and isinstance(r.dev, Answers):
            tests.append(r.test)
            devs.append(r.dev)
    if len(tests) == len(records):
        return metrics.by_part(tests, devs)
    each = [steering.by_part(r.test) | steering.elsewhere(r) for r in records if isinstance(r.test, Steered)]
    if len(each) < len(records):
        raise ValueError("a record without answers has no metrics")
    return {name: np.stack([found[name] for found in each]) for name in each[0]}

"""What a record is measured by, whatever its track."""

from __future__ import annotations

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


def main(rows: Rows) -> float:
    """The track's main metric of some answers: mean AUROC, or mean steering score."""
    return steering.mean_score(rows) if isinstance(rows, Steered) else metrics.mean_auroc(rows)


def by_part(record: Record) -> dict[str, np.ndarray]:
    """Every metric within each part, [parts]; most tasks have one."""
    if isinstance(record.test, Steered):
        return steering.by_part(record.test) | steering.elsewhere(record)
    if not isinstance(record.test, Answers) or not isinstance(record.dev, Answers):
        raise ValueError(f"record {record.key[:12]} has no answers")
    return metrics.by_part(record.test, record.dev)

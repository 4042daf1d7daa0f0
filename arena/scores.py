"""Class scores from fitted scikit-learn classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np

LEAST = 1e-6  # probabilities are kept so far from 0 and 1 before their logarithm


def margins(model: Any, features: Any, classes: int) -> np.ndarray:
    """The model's decision values as one column per class, [n, classes] (higher: likelier).

    Two classes get -d/2 and d/2; log-probabilities would end at -inf where the margin is large. A class
    that the model never saw stands below all others.
    """
    decision = np.asarray(model.decision_function(features), dtype=float)
    if decision.ndim == 1:
        decision = np.stack([-decision / 2, decision / 2], axis=1)
    return _by_class(decision, model.classes_, classes)


def log_odds(model: Any, features: Any, classes: int) -> np.ndarray:
    """log p / (1 - p) of the model's probabilities, [n, classes], finite."""
    p = np.clip(np.asarray(model.predict_proba(features), dtype=float), LEAST, 1 - LEAST)
    return _by_class(np.log(p / (1 - p)), model.classes_, classes)


def _by_class(values: np.ndarray, seen: np.ndarray, classes: int) -> np.ndarray:
    scores = np.repeat(values.min(axis=1, keepdims=True) - 1, classes, axis=1)
    scores[:, seen] = values
    return scores

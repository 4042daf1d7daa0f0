"""Class scores from a fitted scikit-learn classifier."""

from __future__ import annotations

from typing import Any

import numpy as np


def margins(model: Any, features: Any, classes: int) -> np.ndarray:
    """The model's decision values as one column per class, [n, classes] (higher: likelier).

    Two classes get -d/2 and d/2; log-probabilities would end at -inf where the margin is large. A class
    that the model never saw stands below all others.
    """
    decision = np.asarray(model.decision_function(features), dtype=float)
    if decision.ndim == 1:
        decision = np.stack([-decision / 2, decision / 2], axis=1)
    scores = np.repeat(decision.min(axis=1, keepdims=True) - 1, classes, axis=1)
    scores[:, model.classes_] = decision
    return scores

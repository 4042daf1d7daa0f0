"""Ask the neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from arena.contract import Brief, ContenderMeta, Examples, Pooling
from arena.probing import OneSite
from arena.scores import shares

if TYPE_CHECKING:
    from arena.lab import Lab


class Knn(OneSite):
    """Nearest neighbours among standardised activations of one site.

    score[c] = weighted share of class c among the `k` nearest training rows by Euclidean distance of z(h), with
    h [d] the residual stream at (`layer`, `pooling`) and weights 1/distance; fewer neighbours where there are
    fewer rows. `k` is a path. Scores are [n, classes]. Source: Cover and
    Hart 1967; SAE-Probes (Kantamneni et al. 2025).
    """

    meta = ContenderMeta("knn", version=2, family="baseline", access=("labels", "internals"))

    def __init__(self, layer: int | float = 0.5, pooling: Pooling = "last", k: int = 16) -> None:
        self.layer = layer
        self.pooling = pooling
        self.k = k

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.scaler_ = StandardScaler()
        states = self.scaler_.fit_transform(self.states(train, lab))
        self.model_ = KNeighborsClassifier(min(self.k, len(train)), weights="distance")
        self.model_.fit(states, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return shares(self.model_, self.scaler_.transform(self.states(asked, lab)), self.classes_)

"""Ask the neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from arena.contract import Brief, ContenderMeta, Examples, Pooling, Text
from arena.probing import OneSite

if TYPE_CHECKING:
    from arena.lab import Lab

MOST = 100  # neighbours that one query brings: the largest k of the path


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
        self.near_ = lab.once(("near", self.layer, self.pooling, train.texts), lambda: _Near(self.states(train, lab)))
        self.labels_, self.classes_ = train.truth, len(brief.classes)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        distances, rows = self.near_.nearest(self.k, asked.texts, lambda: self.states(asked, lab))
        with np.errstate(divide="ignore"):
            weights = 1 / distances
        same = np.isinf(weights)  # a state that was there in training answers alone
        weights = np.where(same.any(1, keepdims=True), same, weights)
        votes = np.zeros((len(asked), self.classes_))
        for row, weight in zip(rows.T, weights.T, strict=True):
            votes[np.arange(len(asked)), self.labels_[row]] += weight
        return np.asarray(votes / votes.sum(1, keepdims=True))


class _Near:
    """Standardised training states, and the nearest of them to other texts': asked for once for every k."""

    def __init__(self, states: np.ndarray) -> None:
        self._scaler = StandardScaler()
        self._rows = NearestNeighbors().fit(self._scaler.fit_transform(states))
        self._found: dict[tuple[Text, ...], tuple[np.ndarray, np.ndarray]] = {}

    def nearest(
        self, k: int, texts: tuple[Text, ...], states: Callable[[], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distances and row numbers of the `k` nearest, or of all where there are fewer, [n, k] each."""
        k = min(k, self._rows.n_samples_fit_)
        if texts not in self._found or self._found[texts][0].shape[1] < k:
            most = min(max(k, MOST), self._rows.n_samples_fit_)
            self._found[texts] = self._rows.kneighbors(self._scaler.transform(states()), most)
        distances, rows = self._found[texts]
        return distances[:, :k], rows[:, :k]

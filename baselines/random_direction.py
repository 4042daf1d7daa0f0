"""The control for every method that scores by a direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Intervention, Pooling, Site, Sites, depth
from arena.probing import push

if TYPE_CHECKING:
    from arena.lab import Lab


class RandomDirection:
    """Projection on random unit vectors, the sign fitted on train and nothing else.

    For each of `draws` draws and each class c: v ~ uniform on the sphere, s_c = sign(mean of v.h over
    class c - mean over the others), score[c] = s_c v.(h - mean h) / std(v.h), h the residual stream at
    (`layer`, `pooling`). Scores are [draws, n, classes]: metrics are averaged over the draws, never the
    scores, which would make a better detector of twenty poor ones.
    """

    meta = ContenderMeta("random_direction", version=1, family="control", access=("labels", "internals"))

    def __init__(self, layer: int | float = 0.5, pooling: Pooling = "last", draws: int = 20) -> None:
        self.layer = layer
        self.pooling = pooling
        self.draws = draws

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(depth(self.layer, layers), self.pooling)})

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.site_ = Site(depth(self.layer, lab.layers), self.pooling)
        states = lab.activations(train.texts, self.site_)
        vectors = lab.rng.normal(size=(self.draws, states.shape[1]))
        self.vectors_ = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        projected = states @ self.vectors_.T
        self.mean_, self.scale_ = projected.mean(0), np.maximum(projected.std(0), 1e-12)
        self.norm_ = float(np.linalg.norm(states, axis=1).mean())
        labels = train.truth
        self.signs_ = np.stack(
            [
                np.sign(projected[labels == c].mean(0) - projected[labels != c].mean(0))
                for c in range(len(brief.classes))
            ],
            axis=1,
        )
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        projected = lab.activations(asked.texts, self.site_) @ self.vectors_.T
        standard = (projected - self.mean_) / self.scale_
        return np.asarray(standard.T[:, :, None] * self.signs_[:, None, :])

    def steer(self, strength: float) -> Intervention:
        """Adds the first of the random directions to every token, as far as any method pushes."""
        return push(self.vectors_[0], self.norm_, self.site_.layer, strength)

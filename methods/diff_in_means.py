"""The simplest concept direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Pooling, Site, Sites, depth

if TYPE_CHECKING:
    from arena.lab import Lab


class DiffInMeans:
    """Difference of the class means as a direction.

    For each class c: v_c = mean of h over class c - mean over the others, m_c the point midway, and
    score[c] = v_c . (h - m_c) / sd(v_c . h over train), with h [d] the residual stream after block `layer`
    pooled by `pooling`. The sign needs no fitting: larger always means likelier, and 0 is the midpoint, so
    that scores of different folds compare. Scores [n, classes]. Source: Marks and Tegmark 2024 ("The Geometry of
    Truth"); DiffMean of AxBench (Wu et al. 2025).
    """

    meta = ContenderMeta(
        "diff_in_means",
        version=1,
        family="method",
        access=("labels", "internals"),
        control="random_direction",
    )

    def __init__(self, layer: int | float = 0.5, pooling: Pooling = "last") -> None:
        self.layer = layer
        self.pooling = pooling

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(depth(self.layer, layers), self.pooling)})

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.site_ = Site(depth(self.layer, lab.layers), self.pooling)
        states = self._states(train, lab)
        labels = train.truth
        inside = np.stack([states[labels == c].mean(0) for c in range(len(brief.classes))])
        outside = np.stack([states[labels != c].mean(0) for c in range(len(brief.classes))])
        self.directions_ = inside - outside
        self.midpoints_ = ((inside + outside) / 2 * self.directions_).sum(1)
        self.scales_ = np.maximum((states @ self.directions_.T).std(0), 1e-12)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        projected = self._states(asked, lab) @ self.directions_.T
        return np.asarray((projected - self.midpoints_) / self.scales_)

    def _states(self, examples: Examples, lab: Lab) -> np.ndarray:
        return lab.activations(examples.prompts, self.site_).astype(float)

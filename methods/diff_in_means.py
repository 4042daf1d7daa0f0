"""The simplest concept direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Pooling, Site, Sites, depth

if TYPE_CHECKING:
    from arena.lab import Lab


class DiffInMeans:
    """Difference of the class means as a direction.

    For each class c: v_c = mean of h over class c - mean over the others, score[c] = v_c . h / |v_c|,
    with h [d] the residual stream after block `layer` pooled by `pooling`. The sign needs no fitting:
    larger always means likelier. Scores [n, classes]. Source: Marks and Tegmark 2024 ("The Geometry of
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
        states = lab.activations(train.prompts, self.site_)
        labels = train.truth
        directions = np.stack(
            [states[labels == c].mean(0) - states[labels != c].mean(0) for c in range(len(brief.classes))]
        )
        self.directions_ = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return np.asarray(lab.activations(asked.prompts, self.site_) @ self.directions_.T, dtype=float)

"""Linear artificial tomography."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Pooling
from arena.probing import Directions, OneDirection, leading, signed

if TYPE_CHECKING:
    from arena.lab import Lab


class Lat(OneDirection):
    """The leading direction of differences between random pairs of prompts, its sign set by the labels.

    The training rows are paired at random `shuffles` times; each difference of two states h [d] (residual stream at
    (`layer`, `pooling`)) is normalised; v is the first principal component of these differences, uncentred, and
    score[c] = s_c v . (h - mean h) / sd with s_c the sign that makes class c score higher than the others.
    Scores [n, classes]. Prompts are read as they stand, without the stimulus template of the paper. Source:
    representation reading of Zou et al. 2023; LAT of AxBench (Wu et al. 2025), which leaves the sign to chance.
    """

    meta = ContenderMeta("lat", version=1, family="method", access=("labels", "internals"), control="random_direction")

    def __init__(self, layer: int | float = 0.5, pooling: Pooling = "last", shuffles: int = 4) -> None:
        super().__init__(layer, pooling)
        self.shuffles = shuffles

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        states, classes = self.states(train, lab), len(brief.classes)
        differences = []
        for _ in range(self.shuffles):
            order = lab.rng.permutation(len(states))[: len(states) // 2 * 2]
            differences.append(states[order[::2]] - states[order[1::2]])
        pairs = np.concatenate(differences)
        pairs /= np.maximum(np.linalg.norm(pairs, axis=1, keepdims=True), 1e-12)
        component = leading(pairs)
        vectors = signed(component, states, train.truth, classes)
        self.directions_ = Directions(vectors, np.tile(states.mean(0), (classes, 1)), states)
        return self

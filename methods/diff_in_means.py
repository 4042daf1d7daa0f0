"""The simplest concept direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from arena.contract import Brief, ContenderMeta, Examples
from arena.probing import Directions, OneDirection, class_means

if TYPE_CHECKING:
    from arena.lab import Lab


class DiffInMeans(OneDirection):
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

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        states = self.states(train, lab)
        inside, outside = class_means(states, train.truth, len(brief.classes))
        self.directions_ = Directions(inside - outside, (inside + outside) / 2, states)
        return self

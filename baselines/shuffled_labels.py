"""The control that a pipeline does not leak: any contender, taught nonsense."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Detector, Examples, Sites

if TYPE_CHECKING:
    from arena.lab import Lab


class ShuffledLabels:
    """Another contender (`of`), fitted on permuted training labels: AUROC 0.5 if labels are all it learns from.

    Each fit permutes `draws` times anew; scores are [draws, n, classes] (of a wrapped contender that answers in
    draws itself, its first) and metrics are averaged over the draws. The wrapped contender's grid and path are
    this one's. Source: control tasks of Hewitt and Liang 2019; permutation tests of Ojala and Garriga 2010.
    """

    meta = ContenderMeta("shuffled_labels", version=1, family="control", access=("labels", "internals"))

    def __init__(self, of: Detector, draws: int = 3) -> None:
        self.of = of
        self.draws = draws

    def wants(self, layers: int) -> Sites:
        return self.of.wants(layers)

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.fitted_ = [
            copy.copy(self.of).fit(replace(train, labels=lab.rng.permutation(train.truth)), brief, lab)
            for _ in range(self.draws)
        ]
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        answers = [np.asarray(fitted.score(asked, lab)) for fitted in self.fitted_]
        return np.stack([answer if answer.ndim == 2 else answer[0] for answer in answers])

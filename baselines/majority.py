"""The floor: class shares of the training set, whatever the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Sites

if TYPE_CHECKING:
    from arena.lab import Lab


class Majority:
    """Scores every prompt with the training shares of the classes: AUROC 0.5 by construction.

    Source: scikit-learn's `DummyClassifier(strategy="prior")`.
    """

    meta = ContenderMeta("majority", version=1, family="baseline", access=("labels",))

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.shares_ = np.bincount(train.truth, minlength=len(brief.classes)) / len(train)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return np.tile(self.shares_, (len(asked), 1))

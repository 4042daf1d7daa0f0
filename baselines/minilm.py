"""Sentence embeddings: another, smaller model's reading of the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.linear_model import LogisticRegression

from arena.contract import Brief, ContenderMeta, Examples, Sites
from arena.probing import decompose
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab


class MiniLm:
    """L2 logistic regression on all-MiniLM-L6-v2 sentence embeddings.

    log p(class | x) ~ W e(x) + b, with e [384] the mean over the encoder's last token states, normalised to length
    one, and `C` the inverse regularisation (a path: one trial). Scores [n, classes] are margins. Source: Reimers and
    Gurevych 2019; Wang et al. 2020 (MiniLM).
    """

    meta = ContenderMeta("minilm", version=1, family="baseline", access=("labels", "other weights"))

    def __init__(self, C: float = 10.0) -> None:
        self.C = C

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.basis_ = lab.once(
            train.ids, lambda: decompose(lab.embeddings(train.prompts).astype(float), standardise=False)
        )
        self.model_ = LogisticRegression(C=self.C, max_iter=1000).fit(self.basis_.rotated, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        features = self.basis_.rotated_of(asked.prompts, lambda: lab.embeddings(asked.prompts))
        return margins(self.model_, features, self.classes_)

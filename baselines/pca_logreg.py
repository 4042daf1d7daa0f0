"""Few directions, found without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.linear_model import LogisticRegression

from arena.contract import Brief, ContenderMeta, Examples, Pooling
from arena.probing import OneSite, decompose
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab


class PcaLogreg(OneSite):
    """Logistic regression on the first principal components of one site's activations.

    log p(class | x) ~ W P z(h) + b, with h [d] the residual stream at (`layer`, `pooling`), z the training set's
    standardisation, P [components, d] its leading principal directions (a path: one decomposition serves all,
    at most as many as there are), and an L2 penalty of inverse strength 1 on W. Scores [n, classes] are margins.
    Source: the PCA regression of SAE-Probes (Kantamneni et al. 2025), whose PCA saw the validation rows; here
    it sees the training rows alone.
    """

    meta = ContenderMeta("pca_logreg", version=1, family="baseline", access=("labels", "internals"))

    def __init__(self, layer: int | float = 0.5, pooling: Pooling = "last", components: int = 16) -> None:
        self.layer = layer
        self.pooling = pooling
        self.components = components

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.basis_ = lab.once((self.layer, self.pooling, train.ids), lambda: decompose(self.states(train, lab)))
        features = self.basis_.rotated[:, : self.components]
        self.model_ = LogisticRegression(C=1.0, max_iter=1000).fit(features, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        features = self.basis_.rotated_of(asked.texts, lambda: self.states(asked, lab))[:, : self.components]
        return margins(self.model_, features, self.classes_)

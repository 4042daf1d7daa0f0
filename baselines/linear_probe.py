"""The probe that every interpretability method is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.linear_model import LogisticRegression

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Intervention, Pooling, depth
from arena.probing import OneSite, decompose, logistic, push
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab


class LinearProbe(OneSite):
    """L2 logistic regression on standardised activations of one site.

    log p(class | x) ~ W z(h) + b, with h [d] the residual stream after block `layer` (an int, or a
    share of the depth) pooled by `pooling`, z the training set's standardisation and `C` the inverse
    regularisation (a path: one trial). Solved in the basis of the states' singular vectors, decomposed once per
    path. Without `standardise` it is fitted as SAE-Probes fits it, on raw states in single precision, on which the
    solver stops short of the optimum. Scores [n, classes] are margins. `steer(s)` adds the probe's direction (of class
    1, in the states' own scale) at every token, s times the states' mean norm far. Source: Alain and Bengio 2017;
    protocol of SAE-Probes (Kantamneni et al. 2025): last token, middle layer.
    """

    meta = ContenderMeta("linear_probe", version=2, family="baseline", access=("labels", "internals"))

    def __init__(
        self, layer: int | float = 0.5, pooling: Pooling = "last", C: float = 0.01, standardise: bool = True
    ) -> None:
        self.layer = layer
        self.pooling = pooling
        self.C = C
        self.standardise = standardise

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.block_ = depth(self.layer, lab.layers)
        if not self.standardise:
            raw = self.states(train, lab).astype(np.float32)
            self.model_ = LogisticRegression(C=self.C, max_iter=1000).fit(raw, train.truth)
            return self
        self.basis_ = lab.once((self.layer, self.pooling, train.ids), lambda: decompose(self.states(train, lab)))
        self.model_ = logistic(self.C).fit(self.basis_.rotated, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        if not self.standardise:
            return margins(self.model_, self.states(asked, lab).astype(np.float32), self.classes_)
        features = self.basis_.rotated_of(asked.texts, lambda: self.states(asked, lab))
        return margins(self.model_, features, self.classes_)

    def steer(self, strength: float) -> Intervention:
        if not self.standardise:
            raise FairfightError("linear_probe steers with standardise=true only.")
        basis, weights = self.basis_, self.model_.coef_[0 if self.classes_ == 2 else 1]
        return push(weights @ basis.directions / basis.scale, basis.norm, self.block_, strength)

"""The probe that every interpretability method is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arena.contract import Brief, ContenderMeta, Examples, Pooling, Site, Sites, depth
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab


class LinearProbe:
    """L2 logistic regression on standardised activations of one site.

    log p(class | x) ~ W z(h) + b, with h [d] the residual stream after block `layer` (an int, or a
    share of the depth) pooled by `pooling`, z the training set's standardisation, `C` the inverse
    regularisation (a path: one trial). Scores [n, classes] are margins. Source: Alain and
    Bengio 2017; protocol of SAE-Probes (Kantamneni et al. 2025): last token, middle layer.
    """

    meta = ContenderMeta("linear_probe", version=1, family="baseline", access=("labels", "internals"))

    def __init__(self, layer: int | float = 0.5, pooling: Pooling = "last", C: float = 0.01) -> None:
        self.layer = layer
        self.pooling = pooling
        self.C = C

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(depth(self.layer, layers), self.pooling)})

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.site_ = Site(depth(self.layer, lab.layers), self.pooling)
        self.model_ = make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=1000))
        self.model_.fit(self._states(train, lab), train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return margins(self.model_, self._states(asked, lab), self.classes_)

    def _states(self, examples: Examples, lab: Lab) -> np.ndarray:
        # In double precision the solver stops where it should, and sooner.
        return lab.activations(examples.prompts, self.site_).astype(float)

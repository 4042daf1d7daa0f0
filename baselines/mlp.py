"""A probe that need not be linear."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from arena.contract import Brief, ContenderMeta, Examples, Pooling
from arena.probing import OneSite
from arena.scores import log_odds

if TYPE_CHECKING:
    from arena.lab import Lab


class Mlp(OneSite):
    """A small perceptron on standardised activations of one site.

    p(class | x) = softmax(f(z(h))), f with `depth` hidden ReLU layers of `width` units, h [d] the residual stream
    at (`layer`, `pooling`); Adam at `lr` for 100 epochs at most in batches of 128, L2 penalty `alpha`. Scores
    [n, classes] are log-odds. Source: MLP probes (Hewitt and Liang 2019); SAE-Probes (Kantamneni
    et al. 2025), whose search tried a single random configuration.
    """

    meta = ContenderMeta("mlp", version=2, family="baseline", access=("labels", "internals"))

    def __init__(
        self,
        layer: int | float = 0.5,
        pooling: Pooling = "last",
        width: int = 32,
        depth: int = 1,
        lr: float = 1e-3,
        alpha: float = 1e-4,
    ) -> None:
        self.layer = layer
        self.pooling = pooling
        self.width = width
        self.depth = depth
        self.lr = lr
        self.alpha = alpha

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.scaler_ = StandardScaler()
        features = self.scaler_.fit_transform(self.states(train, lab)).astype(np.float32)
        self.model_ = MLPClassifier(
            (self.width,) * self.depth,
            alpha=self.alpha,
            learning_rate_init=self.lr,
            batch_size=min(128, len(train)),
            max_iter=100,
            random_state=int(lab.rng.integers(2**31)),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are a hyperparameter here
            self.model_.fit(features, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        features = self.scaler_.transform(self.states(asked, lab)).astype(np.float32)
        return log_odds(self.model_, features, self.classes_)

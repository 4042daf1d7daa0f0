"""Gradient-boosted trees: the strongest tabular learner, on activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Pooling
from arena.probing import OneSite
from arena.scores import log_odds

if TYPE_CHECKING:
    from arena.lab import Lab


class BoostedTrees(OneSite):
    """Gradient-boosted trees on the activations of one site.

    log p(class | x) is a sum of `rounds` trees of h [d], the residual stream at (`layer`, `pooling`), each of
    `leaves` leaves at most, shrunk by `lr`, each split choosing among a share `features` of the dimensions.
    Scores [n, classes] are log-odds. `engine`: sklearn's histogram trees (after LightGBM, Ke et al. 2017), or
    xgboost (Chen and Guestrin 2016; the extra of that name). Source: the XGBoost probes of SAE-Probes
    (Kantamneni et al. 2025).
    """

    meta = ContenderMeta("boosted_trees", version=1, family="baseline", access=("labels", "internals"))

    def __init__(
        self,
        layer: int | float = 0.5,
        pooling: Pooling = "last",
        rounds: int = 100,
        lr: float = 0.1,
        leaves: int = 8,
        features: float = 0.1,
        engine: str = "sklearn",
    ) -> None:
        self.layer = layer
        self.pooling = pooling
        self.rounds = rounds
        self.lr = lr
        self.leaves = leaves
        self.features = features
        self.engine = engine

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.model_ = self._model(int(lab.rng.integers(2**31)), len(train))
        with threadpool_limits(1, user_api="openmp"):  # on so few rows threads only wait for each other
            self.model_.fit(self.states(train, lab), train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        with threadpool_limits(1, user_api="openmp"):
            return log_odds(self.model_, self.states(asked, lab), self.classes_)

    def _model(self, seed: int, rows: int) -> Any:
        if self.engine == "sklearn":
            return HistGradientBoostingClassifier(
                learning_rate=self.lr,
                max_iter=self.rounds,
                max_leaf_nodes=self.leaves,
                max_features=self.features,
                min_samples_leaf=max(1, min(20, rows // 20)),  # the usual 20 would forbid any split of a few rows
                max_bins=64,
                early_stopping=False,
                random_state=seed,
            )
        if self.engine != "xgboost":
            raise FairfightError(f"Unknown contender.boosted_trees.engine={self.engine!r}; choose sklearn or xgboost.")
        try:
            from xgboost import XGBClassifier
        except ImportError as error:
            raise FairfightError(
                "engine=xgboost needs the extra `xgboost`: pip install -c constraints.txt '.[xgboost]'."
            ) from error
        return XGBClassifier(
            n_estimators=self.rounds,
            learning_rate=self.lr,
            max_leaves=self.leaves,
            grow_policy="lossguide",
            tree_method="hist",
            colsample_bynode=self.features,
            random_state=seed,
            n_jobs=1,
        )

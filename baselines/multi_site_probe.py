"""A linear probe that need not guess the layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Pooling, Site, Sites, depth
from arena.probing import decompose, logistic
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab


class MultiSiteProbe:
    """L2 logistic regression on the standardised activations of several layers side by side.

    log p(class | x) ~ W [z(h_1); ...; z(h_m)] + b, with h_i [d] the residual stream after block `layers[i]`, all
    pooled by `pooling`; `C` the inverse regularisation (a path: one trial). Scores [n, classes] are margins.
    Source: concatenated layers, as in the multi-layer probes of Tenney et al. 2019 (who weigh them) and the PCA of
    concatenated sites in SAE-Probes (Kantamneni et al. 2025).
    """

    meta = ContenderMeta("multi_site_probe", version=1, family="baseline", access=("labels", "internals"))

    def __init__(
        self, layers: Sequence[int | float] = (0.25, 0.5, 0.75), pooling: Pooling = "last", C: float = 0.01
    ) -> None:
        self.layers = layers
        self.pooling = pooling
        self.C = C

    def wants(self, layers: int) -> Sites:
        return frozenset(Site(depth(layer, layers), self.pooling) for layer in self.layers)

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.basis_ = lab.once(
            (tuple(self.layers), self.pooling, train.ids), lambda: decompose(self._states(train, lab))
        )
        self.model_ = logistic(self.C).fit(self.basis_.rotated, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        features = self.basis_.rotated_of(asked.texts, lambda: self._states(asked, lab))
        return margins(self.model_, features, self.classes_)

    def _states(self, examples: Examples, lab: Lab) -> np.ndarray:
        """[n, sites * d]."""
        sites = sorted(self.wants(lab.layers))
        return np.hstack([lab.activations(examples.texts, site) for site in sites]).astype(float)

"""The probe on all of a dictionary's latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Pooling
from arena.scores import margins
from arena.selection import Coded, divided, magnitudes, sparse_logistic, unfinished

if TYPE_CHECKING:
    from arena.lab import Lab


class SaeAll(Coded):
    """L1 logistic regression on every SAE latent.

    f = encode(h) [d_sae] at the dictionary's site, pooled by `pooling`, each latent divided by its mean non-zero
    activation on train; the L1 penalty of inverse strength C (a path: one trial) chooses among them. Scores
    [n, classes] are margins. Source: the L1 probe on all latents of SAE-Probes' and SAEBench's comparisons
    (Kantamneni et al. 2025; Karvonen et al. 2025).
    """

    meta = ContenderMeta(
        "sae_all",
        version=2,
        family="method",
        access=("labels", "internals", "unlabelled text"),
        control="random_sae_all",
    )

    def __init__(self, dictionary: str = "middle", pooling: Pooling = "last", C: float = 1.0) -> None:
        self.dictionary = dictionary
        self.pooling = pooling
        self.C = C

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        codes = self.codes(train, lab)
        self.scale_ = magnitudes(codes)
        model = sparse_logistic(self.C, "l1", len(np.unique(train.truth)))
        with unfinished():
            self.model_ = model.fit(divided(codes, self.scale_), train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return margins(self.model_, divided(self.codes(asked, lab), self.scale_), self.classes_)

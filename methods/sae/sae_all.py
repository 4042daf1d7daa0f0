"""The probe on all of a dictionary's latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from arena.contract import Brief, ContenderMeta, Examples, Pooling
from arena.scores import margins
from arena.selection import Coded, rank, sparse_logistic

if TYPE_CHECKING:
    import numpy as np

    from arena.lab import Lab


class SaeAll(Coded):
    """L1 logistic regression on every SAE latent.

    f = encode(h) [d_sae] at the dictionary's site, pooled by `pooling`, each latent divided by its mean non-zero
    activation on train; the L1 penalty of inverse strength C (a path: one trial) chooses among them. Scores
    [n, classes] are margins. Source: the L1 probe on all latents of SAE-Probes' and SAEBench's comparisons
    (Kantamneni et al. 2025; Karvonen et al. 2025).
    """

    meta = ContenderMeta(
        "sae_all", version=1, family="method", access=("labels", "internals", "unlabelled text"), control="random_sae"
    )

    def __init__(self, dictionary: str = "middle", pooling: Pooling = "last", C: float = 1.0) -> None:
        self.dictionary = dictionary
        self.pooling = pooling
        self.C = C

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.ranked_ = lab.once(
            (type(self).__name__, self.dictionary, self.pooling, train.ids),
            lambda: rank(self.codes(train, lab), train.truth, self.classes_, centred=False),
        )
        model = sparse_logistic(self.C, "l1", self.classes_)
        self.model_ = model.fit(self.ranked_.features, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return margins(self.model_, self.ranked_.rescale(self.codes(asked, lab)), self.classes_)

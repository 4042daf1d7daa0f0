"""A linear probe on single tokens, as AxBench's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, depth
from arena.probing import TokenDirections, decompose, logistic

if TYPE_CHECKING:
    from arena.lab import Lab


class TokenProbe(TokenDirections):
    """Logistic regression on single tokens, each with its text's label; a text counts by its largest token.

    log p(class | token) ~ W z(h) + b, with h [d] the residual stream after block `layer` at every token but the first
    (an attention sink), z the standardisation of the training tokens and `C` the inverse regularisation; of a text at
    most `most` of them, drawn at random. Scores [n, classes] are the largest h . w_c of any token, w_c [d] the weights
    in the states' own scale, standardised on the training texts. Source: the Probe of AxBench (Wu et al. 2025).
    """

    meta = ContenderMeta("token_probe", version=1, family="baseline", access=("labels", "internals"))

    def __init__(self, layer: int | float = 0.5, C: float = 0.01, most: int = 32) -> None:
        self.layer = layer
        self.C = C
        self.most = most

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.block_, self.taught_ = depth(self.layer, lab.layers), train.texts
        states, labels = self.tokens(train, lab, self.most)
        basis = decompose(states)
        weights = logistic(self.C).fit(basis.rotated, labels).coef_
        self.vectors_ = np.asarray(weights @ basis.directions / basis.scale)
        return self

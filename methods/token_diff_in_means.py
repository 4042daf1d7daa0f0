"""The difference of means, as AxBench detects with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from arena.contract import Brief, ContenderMeta, Examples, depth
from arena.probing import TokenDirections, class_means, told_apart

if TYPE_CHECKING:
    from arena.lab import Lab


class TokenDiffInMeans(TokenDirections):
    """Difference of the means over all tokens, scored by a text's largest token.

    For each class c: v_c [d] = mean of h over the tokens of class c's texts - mean over those of the others, with h the
    residual stream after block `layer` at every token but the first (an attention sink). Scores [n, classes] are the
    largest h . v_c of any token, standardised on the training texts. Source: DiffMean of AxBench (Wu et al. 2025),
    whose ReLU, which ties the lowest scores, is left out.
    """

    meta = ContenderMeta(
        "token_diff_in_means",
        version=1,
        family="method",
        access=("labels", "internals"),
        control="random_direction",
    )

    def __init__(self, layer: int | float = 0.5) -> None:
        self.layer = layer

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.block_, self.taught_ = depth(self.layer, lab.layers), train.texts
        tokens, labels = self.tokens(train, lab)
        inside, outside = class_means(tokens, labels, len(brief.classes))
        self.vectors_ = (inside - outside)[list(told_apart(len(brief.classes)))]
        return self

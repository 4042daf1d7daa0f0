"""What would the model say, had it to answer here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Pooling
from arena.probing import OneSite

if TYPE_CHECKING:
    from arena.lab import Lab


class LogitLens(OneSite):
    """Logits of the label words, read off a hidden layer through the unembedding.

    score[c] = mean over forms w of class c's label word (lower case, capitalised; first token after a space)
    of U_w . norm(h), with h [d] the residual stream at (`layer`, `pooling`), norm the model's final norm and U its
    unembedding. No labels are used but those that choose the layer. Scores [n, classes] are logits. Source:
    nostalgebraist 2020 ("interpreting GPT: the logit lens"), with label words as in zero-shot prompting.
    """

    meta = ContenderMeta(
        "logit_lens",
        version=1,
        family="method",
        access=("description", "labels", "internals"),
        control="random_direction",
    )

    def __init__(self, layer: int | float = 0.75, pooling: Pooling = "last") -> None:
        self.layer = layer
        self.pooling = pooling

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.words_ = [(f" {word}", f" {word[:1].upper()}{word[1:]}") for word in brief.words]
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        states = self.states(asked, lab)
        return np.stack([lab.lens(states, forms).mean(1) for forms in self.words_], axis=1)

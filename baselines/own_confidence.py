"""How sure the model is of its likeliest next token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arena.contract import Brief, ContenderMeta, Examples, Sites
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab


class OwnConfidence:
    """Logistic regression on the model's next-token distribution after the prompt.

    log p(class | x) ~ W s + b, with s = (log of the largest probability, entropy in nats, log of the gap between the
    two largest), standardised. Tells whether a model is about to be right (task `knows`) as far as its certainty is
    calibrated; on other tasks it says how surprising a text's end is. `C` is a path. Scores [n, classes] are
    margins. Source: the log-probability baseline of Kadavath et al. 2022.
    """

    meta = ContenderMeta("own_confidence", version=1, family="baseline", access=("labels", "logprobs"))

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.model_ = make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=1000))
        self.model_.fit(lab.certainty(train.prompts), train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return margins(self.model_, lab.certainty(asked.prompts), self.classes_)

"""Make some words likelier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Intervention, Sites

if TYPE_CHECKING:
    from arena.lab import Lab


class LogitBias:
    """`steer(s)` adds s w to the logits of the tokens that begin a word, for the `words` most telling, w in (0, 1].

    A word tells by its log-odds of standing in the positive of the n training texts rather than in the others (both
    smoothed by one text), relative to the most telling word. Neither gradients nor states are used. Source: the logit
    bias of language model interfaces; word scores as in naive Bayes.
    """

    meta = ContenderMeta("logit_bias", version=1, family="baseline", access=("labels", "logprobs"))

    def __init__(self, words: int = 30) -> None:
        self.words = words

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if train.completions is None:
            raise FairfightError("logit_bias learns words from responses; a steering task brings them.")
        vectorizer = CountVectorizer(binary=True, stop_words="english", token_pattern=r"(?u)\b[^\W\d_]{2,}\b")
        counts = vectorizer.fit_transform(train.completions)
        own = train.truth == 1
        inside = (np.asarray(counts[own].sum(0)).ravel() + 1) / (own.sum() + 2)
        outside = (np.asarray(counts[~own].sum(0)).ravel() + 1) / ((~own).sum() + 2)
        odds = np.log(inside / (1 - inside)) - np.log(outside / (1 - outside))
        best = np.argsort(-odds, kind="stable")[: self.words]
        names = vectorizer.get_feature_names_out()
        self.weights_ = {str(names[i]): float(odds[i] / odds[best[0]]) for i in best if odds[i] > 0}
        return self

    def steer(self, strength: float) -> Intervention:
        return Intervention(bias={word: strength * weight for word, weight in self.weights_.items()})

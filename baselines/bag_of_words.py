"""Words without any language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from arena.contract import Brief, ContenderMeta, Examples, Sites
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab


class BagOfWords:
    """TF-IDF of word n-grams and an L2 logistic regression.

    log p(class | x) ~ W tfidf(x) + b, with n-grams of 1 to `ngrams` words (or characters, by
    `analyzer`), counts sublinear (1 + log tf) where `sublinear`, `C` the inverse regularisation (a path:
    one trial). Scores [n, classes] are margins. Source: scikit-learn's text pipeline; as the
    missing LLM-free baseline of SAE-Probes (Kantamneni et al. 2025).
    """

    meta = ContenderMeta("bag_of_words", version=1, family="baseline", access=("labels",))

    def __init__(self, ngrams: int = 2, sublinear: bool = False, analyzer: str = "word", C: float = 1.0) -> None:
        self.ngrams = ngrams
        self.sublinear = sublinear
        self.analyzer = analyzer
        self.C = C

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        words = TfidfVectorizer(
            ngram_range=(1, self.ngrams),
            sublinear_tf=self.sublinear,
            analyzer=self.analyzer,
            # Names and labels have one-letter words too; characters need no pattern.
            token_pattern=r"(?u)\b\w+\b" if self.analyzer == "word" else None,
        )
        self.model_ = make_pipeline(words, LogisticRegression(C=self.C, max_iter=1000))
        self.model_.fit(train.prompts, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return margins(self.model_, asked.prompts, self.classes_)

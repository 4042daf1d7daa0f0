"""Words without any language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

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
        how = self.ngrams, self.sublinear, self.analyzer, train.prompts
        self.words_ = lab.once(("words", *how), lambda: _Words(*how))
        self.model_ = LogisticRegression(C=self.C, max_iter=1000).fit(self.words_.rows(train.prompts), train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return margins(self.model_, self.words_.rows(asked.prompts), self.classes_)


class _Words:
    """TF-IDF as some texts teach it, and what it makes of every set of texts: the same for each C."""

    def __init__(self, ngrams: int, sublinear: bool, analyzer: str, texts: tuple[str, ...]) -> None:
        self._taught = TfidfVectorizer(
            ngram_range=(1, ngrams),
            sublinear_tf=sublinear,
            analyzer=analyzer,
            # Names and labels have one-letter words too; characters need no pattern.
            token_pattern=r"(?u)\b\w+\b" if analyzer == "word" else None,
        )
        self._rows = {texts: self._taught.fit_transform(texts)}

    def rows(self, texts: tuple[str, ...]) -> csr_matrix:
        """[n, n-grams]."""
        if texts not in self._rows:
            self._rows[texts] = self._taught.transform(texts)
        return self._rows[texts]

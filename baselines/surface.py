"""What a text looks like, read by nobody: exposes shortcuts."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arena.contract import Brief, ContenderMeta, Examples, Sites
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab

_MARKS = ".,;:!?'\"()-/@#<>$%&*"


class Surface:
    """L2 logistic regression on the surface of a text: length, punctuation, digits, capitals.

    log p(class | x) ~ W z(s) + b, with s the log counts of characters, words, lines and of each punctuation mark, the
    shares of digits, capitals, punctuation and non-ASCII characters, mean word length, and how the text
    begins and ends; `C` the inverse regularisation (a path). Scores [n, classes] are margins. Source: the length
    shortcuts that SAE-Probes' README reports; artefact baselines such as Gururangan et al. 2018.
    """

    meta = ContenderMeta("surface", version=1, family="baseline", access=("labels",))

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.model_ = make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=1000))
        self.model_.fit(_features(train.prompts, lab), train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return margins(self.model_, _features(asked.prompts, lab), self.classes_)


def _features(texts: tuple[str, ...], lab: Lab) -> np.ndarray:
    """[n, features]; each text is looked at once, for every C and fold."""
    seen: dict[str, list[float]] = lab.once("surface", dict)
    for text in texts:
        if text not in seen:
            seen[text] = _look(text)
    return np.array([seen[text] for text in texts])


def _look(text: str) -> list[float]:
    words = re.findall(r"\w+", text)
    size = max(len(text), 1)
    counts = [len(text), len(words), text.count("\n"), *(text.count(mark) for mark in _MARKS)]
    shares = [
        sum(map(str.isdigit, text)),
        sum(map(str.isupper, text)),
        sum(c in string.punctuation for c in text),
        sum(not c.isascii() for c in text),
    ]
    edges = [text[:1].isupper(), text[:1].isdigit(), text[-1:] in ".!?", text[-1:].isalnum()]
    return [
        *np.log1p(counts),
        *(share / size for share in shares),
        float(np.mean([len(w) for w in words])) if words else 0.0,
        *map(float, edges),
    ]

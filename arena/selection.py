"""Probes on few of many features: SAE latents, MLP neurons, coordinates, components, all by one rule."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from arena.contract import Brief, Examples, FairfightError, Intervention, Pooling, Sites, latents
from arena.interventions import Add
from arena.probing import logistic
from arena.scores import margins

if TYPE_CHECKING:
    from arena.dictionary import Dictionary
    from arena.lab import Lab

PENALTIES = ("l1", "l2")
MOST = 1024  # features that a selection may hold


@dataclass(frozen=True)
class Ranked:
    """Training features in units of their mean magnitude, the most telling first."""

    order: np.ndarray  # [most] columns
    centre: np.ndarray  # [most]
    scale: np.ndarray  # [most]; infinite where a feature is never active
    rows: np.ndarray  # [n, most] float32, scaled

    def scaled(self, features: csr_array | np.ndarray, k: int) -> np.ndarray:
        """Other features' first `k` columns by rank, [n, k]."""
        few = features[:, self.order[:k]]
        dense = few.toarray() if isinstance(few, csr_array) else few
        return np.asarray((dense - self.centre[:k]) / self.scale[:k], dtype=float)


def magnitudes(features: csr_array) -> np.ndarray:
    """Mean non-zero magnitude of each column, [m]; infinite where there is none."""
    active = np.bincount(features.indices[features.data != 0], minlength=features.shape[1])
    total = np.asarray(abs(features).sum(0))
    found: np.ndarray = np.divide(total, active, out=np.full(len(total), np.inf), where=active > 0)
    return found


def gaps(features: csr_array | np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Largest |mean over class c - mean over the others| of each column, [m]."""
    member = labels[None, :] == np.arange(classes)[:, None]  # [classes, n]
    count = np.maximum(member.sum(1, keepdims=True), 1)
    others = np.maximum((~member).sum(1, keepdims=True), 1)
    inside = np.asarray((features.T @ member.T.astype(np.float32)).T)
    outside = np.asarray(features.sum(0)) - inside
    return np.asarray(np.abs(inside / count - outside / others).max(0))


def rank(features: csr_array | np.ndarray, labels: np.ndarray, classes: int, most: int = MOST) -> Ranked:
    """Features [n, m] by how far the class means lie apart, the first `most` kept.

    Each feature is divided by its mean non-zero magnitude; its rank is by the largest |mean over class c - mean over
    the others|. Dense features are centred first, or an offset would count as magnitude. Source: the selection of
    SAE-Probes (Kantamneni et al. 2025), which did it on the validation rows too.
    """
    if isinstance(features, csr_array):
        centre, scale = np.zeros(features.shape[1]), magnitudes(features)
        gap = gaps(features, labels, classes)
    else:
        centre = features.mean(0)
        scale = np.abs(features - centre).mean(0)
        scale = np.where(scale > 0, scale, np.inf)
        gap = gaps(features - centre, labels, classes)
    order = np.argsort(-gap / scale, kind="stable")[:most]
    whole = Ranked(order, centre[order], scale[order], np.empty((0, len(order)), np.float32))
    return replace(whole, rows=whole.scaled(features, len(order)).astype(np.float32))


def divided(features: csr_array, scale: np.ndarray) -> csr_array:
    """Features by column, with the index type that they have (liblinear takes 32 bits only)."""
    return csr_array((features.data / scale[features.indices], features.indices, features.indptr), features.shape)


def sparse_logistic(C: float, penalty: str, classes: int) -> Any:
    """Logistic regression with an L1 (one class against the rest) or L2 penalty; the intercept is free under L2."""
    if penalty not in PENALTIES:
        raise FairfightError(f"Unknown penalty={penalty!r}; choose one of {', '.join(PENALTIES)}.")
    if penalty == "l2":
        return logistic(C)
    # tol is liblinear's own for this penalty, not scikit-learn's: that takes ten times as long.
    binary = LogisticRegression(C=C, l1_ratio=1.0, solver="liblinear", intercept_scaling=10, tol=0.01, random_state=0)
    return binary if classes == 2 else OneVsRestClassifier(binary)


@contextmanager
def unfinished() -> Iterator[None]:
    """Lets a solver stop early without a word: with hardly any penalty there is no end, and dev scores judge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


class FewFeatures:
    """A contender that fits a logistic regression on the `k` features whose class means differ most."""

    k: int
    penalty: str
    C: float

    def features(self, examples: Examples, lab: Lab) -> csr_array | np.ndarray:
        """[n, m]: sparse ones rest at zero, dense ones are centred."""
        raise NotImplementedError

    def where(self) -> tuple[Any, ...]:
        """What, beside the examples, the features depend on."""
        raise NotImplementedError

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if not 1 <= self.k <= MOST:
            raise FairfightError(f"k={self.k} is out of range; give a number of features from 1 to {MOST}.")
        self.classes_ = len(brief.classes)
        self.ranked_ = lab.once(
            (type(self).__name__, *self.where(), train.ids, train.truth.tobytes()),
            lambda: rank(self.features(train, lab), train.truth, self.classes_),
        )
        model = sparse_logistic(self.C, self.penalty, len(np.unique(train.truth)))
        with unfinished():
            self.model_ = model.fit(self.ranked_.rows[:, : self.k].astype(float), train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        """[n, classes]."""
        rows = self.ranked_.scaled(self.features(asked, lab), self.model_.n_features_in_)
        return margins(self.model_, rows, self.classes_)


class Coded:
    """A contender that reads one dictionary's latents."""

    dictionary: str
    pooling: Pooling

    def wants(self, layers: int) -> Sites:
        return frozenset({latents(self.dictionary, self.pooling)})

    def codes(self, examples: Examples, lab: Lab) -> csr_array:
        """Latents, [n, d_sae]."""
        return lab.latents(examples.texts, self.dictionary, self.pooling)


def amplified(code: Dictionary, latent: int, amount: float) -> Intervention:
    """Adds to every token what a latent would if it were active by `amount`."""
    vector = code.W_dec[latent].float().cpu().numpy()
    return Intervention((Add(layer=code.layer, vector=vector, strength=amount),))


class FewLatents(Coded, FewFeatures):
    """A logistic regression on the `k` most telling latents of one dictionary."""

    def __init__(
        self,
        dictionary: str = "middle",
        pooling: Pooling = "last",
        k: int = 128,
        penalty: str = "l1",
        C: float = 1.0,
    ) -> None:
        self.dictionary = dictionary
        self.pooling = pooling
        self.k = k
        self.penalty = penalty
        self.C = C

    def features(self, examples: Examples, lab: Lab) -> csr_array | np.ndarray:
        return self.codes(examples, lab)

    def where(self) -> tuple[Any, ...]:
        return self.dictionary, self.pooling

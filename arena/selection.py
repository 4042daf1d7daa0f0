"""Probes on few of many features: SAE latents, MLP neurons, coordinates, components, all by one rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from arena.contract import Brief, Examples, FairfightError, Pooling, Sites, latents
from arena.probing import logistic
from arena.scores import margins

if TYPE_CHECKING:
    from arena.lab import Lab

PENALTIES = ("l1", "l2")


@dataclass(frozen=True)
class Ranked:
    """Training features in units of their mean magnitude, and their order: the most telling first."""

    centre: np.ndarray  # [m]
    scale: np.ndarray  # [m]; infinite where a feature is never active
    features: csr_array  # [n, m]
    order: np.ndarray  # [m]

    def scaled(self, features: csr_array | np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Other features at the chosen columns, [n, chosen]."""
        few = features[:, chosen]
        dense = few.toarray() if isinstance(few, csr_array) else few
        return np.asarray((dense - self.centre[chosen]) / self.scale[chosen])

    def rescale(self, features: csr_array) -> csr_array:
        """Other features at all columns, [n, m], where nothing was centred."""
        return _divided(features, self.scale)


def rank(features: csr_array | np.ndarray, labels: np.ndarray, classes: int, centred: bool) -> Ranked:
    """Features [n, m] by how far the class means lie apart.

    Each feature is divided by its mean non-zero magnitude; its rank is by the largest |mean over class c - mean over
    the others|. Dense features are centred first (`centred`), or an offset would count as magnitude. Source: the
    selection of SAE-Probes (Kantamneni et al. 2025), which did it on the validation rows too.
    """
    centre = np.asarray(features.mean(0)) if centred else np.zeros(features.shape[1])
    sparse = csr_array(features - centre) if centred else csr_array(features)
    active = np.diff(sparse.tocsc().indptr)
    total = np.asarray(abs(sparse).sum(0))
    scale = np.divide(total, active, out=np.full(len(total), np.inf), where=total > 0)
    scaled = _divided(sparse, scale)
    member = labels[None, :] == np.arange(classes)[:, None]  # [classes, n]
    count = np.maximum(member.sum(1, keepdims=True), 1)
    others = np.maximum((~member).sum(1, keepdims=True), 1)
    inside = np.asarray((scaled.T @ member.T.astype(float)).T)
    gap = np.abs(inside / count - (np.asarray(scaled.sum(0)) - inside) / others).max(0)
    return Ranked(centre, scale, scaled, np.argsort(-gap, kind="stable"))


def _divided(features: csr_array, scale: np.ndarray) -> csr_array:
    """Features by column, with the index type that they have (liblinear takes 32 bits only)."""
    return csr_array((features.data / scale[features.indices], features.indices, features.indptr), features.shape)


def sparse_logistic(C: float, penalty: str, classes: int) -> Any:
    """Logistic regression with an L1 (one class against the rest) or L2 penalty; the intercept is free under L2."""
    if penalty not in PENALTIES:
        raise FairfightError(f"Unknown penalty={penalty!r}; choose one of {', '.join(PENALTIES)}.")
    if penalty == "l2":
        return logistic(C)
    binary = LogisticRegression(C=C, l1_ratio=1.0, solver="liblinear", intercept_scaling=10, random_state=0)
    return binary if classes == 2 else OneVsRestClassifier(binary)


class FewFeatures:
    """A contender that fits a logistic regression on the `k` features whose class means differ most."""

    centred = True  # dense features have an offset; latents rest at zero
    k: int
    penalty: str
    C: float

    def features(self, examples: Examples, lab: Lab) -> csr_array | np.ndarray:
        """[n, m]."""
        raise NotImplementedError

    def where(self) -> tuple[Any, ...]:
        """What, beside the examples, the features depend on."""
        raise NotImplementedError

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.classes_ = len(brief.classes)
        self.ranked_ = lab.once(
            (type(self).__name__, *self.where(), train.ids),
            lambda: rank(self.features(train, lab), train.truth, self.classes_, self.centred),
        )
        self.chosen_ = self.ranked_.order[: self.k]
        rows = self.ranked_.features[:, self.chosen_].toarray()
        self.model_ = sparse_logistic(self.C, self.penalty, len(np.unique(train.truth))).fit(rows, train.truth)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        """[n, classes]."""
        rows = self.ranked_.scaled(self.features(asked, lab), self.chosen_)
        return margins(self.model_, rows, self.classes_)


class Coded:
    """A contender that reads one dictionary's latents."""

    dictionary: str
    pooling: Pooling

    def wants(self, layers: int) -> Sites:
        return frozenset({latents(self.dictionary, self.pooling)})

    def codes(self, examples: Examples, lab: Lab) -> csr_array:
        """Latents, [n, d_sae]."""
        return lab.latents(examples.prompts, self.dictionary, self.pooling)


class FewLatents(Coded, FewFeatures):
    """A logistic regression on the `k` most telling latents of one dictionary."""

    centred = False

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
        codes = self.codes(examples, lab)
        return codes.toarray() if self.centred else codes

    def where(self) -> tuple[Any, ...]:
        return self.dictionary, self.pooling

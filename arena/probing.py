"""What contenders on cached activations share: where they read, one decomposition per fit, signed directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.linalg import svds
from sklearn.linear_model import LogisticRegression

from arena.contract import Examples, Intervention, Pooling, Site, Sites, Text, depth

if TYPE_CHECKING:
    from arena.lab import Lab

_NEGLIGIBLE = 1e-6  # singular values below this share of the largest are rounding: their squares are 1e-12


class OneSite:
    """A contender that reads the residual stream after block `layer`, pooled by `pooling`."""

    layer: int | float
    pooling: Pooling

    def site(self, layers: int) -> Site:
        return Site(depth(self.layer, layers), self.pooling)

    def wants(self, layers: int) -> Sites:
        return frozenset({self.site(layers)})

    def states(self, examples: Examples, lab: Lab) -> np.ndarray:
        """[n, d], in double precision, in which solvers stop where they should, and sooner."""
        self.block_ = depth(self.layer, lab.layers)
        return lab.activations(examples.texts, self.site(lab.layers)).astype(float)


@dataclass(frozen=True)
class Decomposition:
    """Singular value decomposition of standardised states: z = u diag(values) directions.

    Penalised linear models do not change under the rotation to `u diag(values)`, which has no more columns
    than rows.
    """

    mean: np.ndarray  # [d]
    scale: np.ndarray  # [d]
    u: np.ndarray  # [n, r]
    values: np.ndarray  # [r], falling
    directions: np.ndarray  # [r, d], orthonormal rows
    _known: dict[tuple[Text, ...], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def rotated(self) -> np.ndarray:
        """The training states, [n, r]."""
        return np.asarray(self.u * self.values)

    @property
    def norm(self) -> float:
        """The mean norm of the training states."""
        return float(np.linalg.norm(self.rotated @ self.directions * self.scale + self.mean, axis=1).mean())

    def rotate(self, states: np.ndarray) -> np.ndarray:
        """Other states, [m, r]."""
        return np.asarray(((states - self.mean) / self.scale) @ self.directions.T)

    def rotated_of(self, texts: tuple[Text, ...], states: Callable[[], np.ndarray]) -> np.ndarray:
        """Other texts' states, [m, r]; read and rotated once, whichever step of a path asks."""
        if texts not in self._known:
            self._known[texts] = self.rotate(states())
        return self._known[texts]


def decompose(states: np.ndarray, standardise: bool = True) -> Decomposition:
    """Of states [n, d], centred and, with `standardise`, divided by their standard deviation.

    Through the Gram matrix of the shorter side, which is faster than a general decomposition.
    """
    mean = states.mean(0)
    scale = states.std(0) if standardise else np.ones(states.shape[1])
    scale = np.where(scale > 1e-12, scale, 1.0)
    z = (states - mean) / scale
    wide = z.shape[0] < z.shape[1]
    squares, vectors = np.linalg.eigh(z @ z.T if wide else z.T @ z)
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    vectors = vectors[:, ::-1]
    kept = values > _NEGLIGIBLE * max(values[0], 1e-300)
    kept[0] = True  # constant states keep one (empty) direction
    values, vectors = np.maximum(values[kept], 1e-300), vectors[:, kept]
    u = vectors if wide else z @ vectors / values
    directions = (z.T @ vectors / values).T if wide else vectors.T
    return Decomposition(mean, scale, u, values, directions)


def logistic(C: float) -> LogisticRegression:
    """L2 logistic regression, solved to a tenth of scikit-learn's tolerance."""
    return LogisticRegression(C=C, max_iter=1000, tol=1e-5)


def leading(states: np.ndarray) -> np.ndarray:
    """The leading right singular vector of states [n, d], uncentred, [d]; zero where all states are."""
    if not states.any() or min(states.shape) < 2:
        return np.asarray(states[0] / max(float(np.linalg.norm(states[0])), 1e-300))
    start = np.random.default_rng(0).normal(size=min(states.shape))
    return np.asarray(svds(states, k=1, v0=start)[2][0])


class Directions:
    """Linear scores by given directions, centred and scaled on the training states.

    score[c] = v_c . (h - m_c) / sd(v_c . h over train). Fits of different folds compare.
    """

    def __init__(self, vectors: np.ndarray, centres: np.ndarray, states: np.ndarray) -> None:
        """vectors [classes, d], centres [classes, d] (m_c), states [n, d] (train)."""
        self.vectors = vectors
        self.offsets = (vectors * centres).sum(1)
        self.scales = np.maximum((states @ vectors.T).std(0), 1e-12)
        self.norm = float(np.linalg.norm(states, axis=1).mean())

    def score(self, states: np.ndarray) -> np.ndarray:
        """[n, classes]."""
        return np.asarray((states @ self.vectors.T - self.offsets) / self.scales)


class OneDirection(OneSite):
    """A contender that scores by directions at one site; `fit` learns `directions_`."""

    directions_: Directions

    def __init__(self, layer: int | float = 0.5, pooling: Pooling = "last") -> None:
        self.layer = layer
        self.pooling = pooling

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        """[n, classes]."""
        return self.directions_.score(self.states(asked, lab))

    def steer(self, strength: float) -> Intervention:
        """Adds the direction of class 1 to every token; see `push`."""
        return push(self.directions_.vectors[1], self.directions_.norm, self.block_, strength)


class TokenDirections:
    """A contender that scores a text by its tokens' largest product with a direction; `fit` learns `vectors_`.

    score[c] = max over tokens of h . v_c, h [d] the residual stream after block `block_`, less its mean over the
    training texts (`taught_`) and over its standard deviation there, so that fits compare. Of two classes only the
    second has a direction, and the first gets its negative. (AxBench's ReLU around it ties the lowest scores.)
    """

    layer: int | float
    block_: int
    vectors_: np.ndarray  # [classes, d], or [1, d] of two classes
    taught_: tuple[Text, ...]
    usual_: tuple[np.ndarray | None, np.ndarray] = (None, np.empty(0))  # of which directions, and what is usual there

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(depth(self.layer, layers), "tokens")})

    def settle(self, lab: Lab) -> None:
        """Reads the training texts for what is usual there; not in `fit`, which may be one to steer by."""
        self.usual_ = self.vectors_, self._largest(self.taught_, lab)

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        """[n, classes]."""
        if self.usual_[0] is not self.vectors_:
            self.settle(lab)
        usual = self.usual_[1]
        found = (self._largest(asked.texts, lab) - usual.mean(0)) / np.maximum(usual.std(0), 1e-12)
        return found if found.shape[1] > 1 else np.concatenate([-found, found], axis=1)

    def tokens(self, train: Examples, lab: Lab, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """States of all texts' tokens, [tokens, d], and their texts' labels; of each text at most `most`, at random."""
        each = [h[_tail(h)] for h in lab.token_activations(train.texts, self.block_)]
        if most is not None:
            each = [h[lab.rng.permutation(len(h))[:most]] for h in each]
        return np.concatenate(each).astype(float), np.repeat(train.truth, [len(h) for h in each])

    def _largest(self, texts: Sequence[Text], lab: Lab) -> np.ndarray:
        """Over tokens, [n, directions]."""
        states = lab.token_activations(texts, self.block_)
        return np.stack([(h[_tail(h)] @ self.vectors_.T).max(0) for h in states]).astype(float)


def _tail(tokens: np.ndarray) -> slice:
    """All but the first, an attention sink, where another follows."""
    return slice(min(1, len(tokens) - 1), None)


def told_apart(classes: int) -> range:
    """The classes that need a direction: of two the second alone."""
    return range(1, 2) if classes == 2 else range(classes)


def push(direction: np.ndarray, norm: float, block: int, strength: float) -> Intervention:
    """Adds `strength` times the states' mean norm (of training data) along a direction [d], after a block.

    In these units all directions push equally far. A direction of length 0 pushes nowhere.
    """
    from arena.interventions import Add

    length = float(np.linalg.norm(direction))
    vector = direction * (norm / length if length else 0.0)
    return Intervention((Add(layer=block, vector=vector.astype(np.float32), strength=strength),))


def class_means(states: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of each class and of all others, [classes, d] each."""
    inside = np.stack([states[labels == c].mean(0) for c in range(classes)])
    outside = np.stack([states[labels != c].mean(0) for c in range(classes)])
    return inside, outside


def signed(direction: np.ndarray, states: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """One direction per class, [classes, d]: `direction`, turned to where the class lies (labels set the sign)."""
    inside, outside = class_means(states, labels, classes)
    towards = np.sign((inside - outside) @ direction)
    return np.asarray(np.where(towards == 0, 1.0, towards)[:, None] * direction)

"""The split and cross-validation of the `sae-probes` package, its defects included.

For laying numbers side by side, never for a verdict: duplicates are kept (18.6 % of its test prompts stand in its
train set), classes are balanced by repetition, and there is one split, whose test holds rows of our lockboxes.
Reimplemented from `utils_data.py` and
`utils_training.py` of sae-probes 0.4.2 (Kantamneni et al. 2025).
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedKFold

from arena.contract import Brief, Examples, FairfightError, Part, Regime

SEED = 42  # of the package; ours is added
MOST_ROWS = 5000
HELD_OUT = 100


def split(
    name: str, brief: Brief, prompts: Sequence[str], labels: np.ndarray, flipped: bool, regime: Regime, seed: int
) -> Part:
    """The part of one set: prompts in the file's order, labels [n] 0 or 1.

    `flipped`: whether the package calls our class 0 its positive one, which decides who is drawn first.
    """
    prompts, labels = prompts[:MOST_ROWS], labels[:MOST_ROWS]
    train_size = min(len(prompts) - HELD_OUT, regime.labels)
    if train_size < 4:
        raise FairfightError(f"Task {name} has {len(prompts)} rows, too few for regime {regime.name}; choose another.")
    if 2 * int(np.bincount(labels, minlength=2).min()) < len(prompts) - 1:
        raise FairfightError(
            f"Task {name} has no balanced classes, which regime {regime.name} draws from; choose another."
        )
    theirs = 1 - labels if flipped else labels
    train, test = _indices(theirs, train_size, len(prompts) - train_size - 1, SEED + seed)
    seen: Counter[str] = Counter()
    ids = []
    for prompt in prompts:
        seen[prompt] += 1
        ids.append(f"{hashlib.sha256(prompt.encode()).hexdigest()[:16]}-{seen[prompt]}")
    data = Examples(tuple(ids), tuple(prompts), labels, np.arange(len(prompts)))
    return Part(
        name=name,
        brief=brief,
        train=data.take(train),
        folds=_folds(theirs[train], SEED + seed),
        public=data.take(test[: regime.test]),
        lockbox=data.take([]),
    )


def _indices(labels: np.ndarray, train_size: int, test_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Balanced draws without replacement, train first."""
    rng = np.random.RandomState(seed)
    left = {c: np.flatnonzero(labels == c) for c in (1, 0)}
    drawn = []
    for size in (train_size, test_size):
        sizes = {1: int(np.ceil(0.5 * size))}
        sizes[0] = size - sizes[1]
        taken = {c: rng.choice(left[c], size=sizes[c], replace=False) for c in (1, 0)}
        left = {c: np.setdiff1d(left[c], taken[c]) for c in (1, 0)}
        drawn.append(taken)
    train, test = (rng.permutation(np.concatenate([taken[1], taken[0]])) for taken in drawn)
    return train, test


def _folds(labels: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    n = len(labels)
    if n <= 12:
        pairs = itertools.combinations(range(n), 2)
        return tuple(np.array(pair) for pair in pairs if labels[pair[0]] != labels[pair[1]])
    if n < 128:
        splitter = StratifiedKFold(6, shuffle=True, random_state=seed)
        return tuple(held_out for _, held_out in splitter.split(labels, labels))
    return (np.arange(n - min(int(0.2 * n), HELD_OUT), n),)

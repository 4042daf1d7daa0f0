"""Who is asked what: fixed test halves, seeded train sets, folds shared by all contenders.

Everything that touches the test rows depends on the data alone (rows are ordered by a hash of their
group), so a seed redraws train and dev but never the test, and a smaller test is a prefix of a larger.
"""

from __future__ import annotations

import hashlib

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from arena.contract import Brief, Examples, FairfightError, Part, Regime

STANDARD_LABELS = 512  # what the standard regime trains on ...
LEAST_TEST = 500  # ... beside a test of at least so many rows, or else the test is a third
MOST_TEST = 2000  # rows of the test, both halves together
FEWEST_TEST = 50


def split(name: str, brief: Brief, data: Examples, regime: Regime, seed: int) -> Part:
    """One part of a task: its train set, folds and both halves of its test."""
    test = _test_rows(name, data)
    halves = _halves(data, test)
    rest = np.setdiff1d(np.arange(len(data)), test)
    train = _draw(name, brief, data, rest, regime, seed)
    part = Part(
        name=name,
        brief=brief,
        train=data.take(train),
        folds=_folds(data.take(train), regime, seed),
        public=data.take(halves[0][: regime.test]),
        lockbox=data.take(halves[1][: regime.test]),
    )
    for where, examples in (("train", part.train), ("public", part.public), ("lockbox", part.lockbox)):
        _refuse_empty_class(name, brief, where, examples)
    return part


def test_size(rows: int) -> int:
    """Rows of the test: what the standard regime leaves, at most 2,000; of a small set a third."""
    if rows >= STANDARD_LABELS + LEAST_TEST:
        return min(MOST_TEST, rows - STANDARD_LABELS)
    return rows // 3


def _test_rows(name: str, data: Examples) -> np.ndarray:
    """Indices of the test rows in their fixed order; whole groups, in the order of their hash."""
    wanted = test_size(len(data))
    if wanted < FEWEST_TEST:
        raise FairfightError(
            f"Task {name} has {len(data)} clean prompts, and a third of them is below the {FEWEST_TEST} that a test "
            f"needs; bring at least {3 * FEWEST_TEST} distinct prompts."
        )
    chosen: list[int] = []
    for members in _hashed_groups(data, np.arange(len(data))):
        if len(chosen) + len(members) <= wanted:  # a group too large for what is left stays in train
            chosen += members
    if len(chosen) < FEWEST_TEST:
        raise FairfightError(
            f"Task {name} has so large groups that only {len(chosen)} rows can be asked without splitting one, below "
            f"the {FEWEST_TEST} that a test needs; bring more groups or a finer group rule."
        )
    return np.array(chosen, dtype=int)


def _halves(data: Examples, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Public and lockbox rows, whole groups each, rows in the order of their id's hash."""
    halves: tuple[list[int], list[int]] = ([], [])
    for members in _hashed_groups(data, test):
        halves[len(halves[0]) > len(halves[1])].extend(members)
    first, second = (np.array(sorted(half, key=lambda i: _hash(data.ids[i])), dtype=int) for half in halves)
    return first, second


def _hashed_groups(data: Examples, rows: np.ndarray) -> list[list[int]]:
    """The groups of some rows, ordered by the hash of their smallest id: a function of content alone."""
    members: dict[int, list[int]] = {}
    for i in rows:
        members.setdefault(int(data.groups[i]), []).append(int(i))
    return sorted(members.values(), key=lambda group: _hash(min(data.ids[i] for i in group)))


def _draw(name: str, brief: Brief, data: Examples, rest: np.ndarray, regime: Regime, seed: int) -> np.ndarray:
    """Seeded draw of `regime.labels` rows in the classes' own proportions (at least one each)."""
    if len(rest) < regime.labels * regime.shrink:
        raise FairfightError(
            f"Regime {regime.name} asks for {regime.labels} labels (at least {regime.labels * regime.shrink:.0f}) and "
            f"task {name} has {len(rest)} rows beside its test; lower regime.labels or choose a larger task."
        )
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(rest)
    classes = data.truth[order]
    counts = np.bincount(classes, minlength=len(brief.classes))
    wanted = _proportional(counts, min(regime.labels, len(rest)))
    drawn = np.concatenate([order[classes == c][: wanted[c]] for c in range(len(counts))])
    return np.asarray(rng.permutation(drawn))


def _proportional(counts: np.ndarray, total: int) -> np.ndarray:
    """`total` shared out in proportion to `counts` by largest remainders, one at least where there is one."""
    exact = counts * total / counts.sum()
    shares = np.maximum(np.floor(exact).astype(int), (counts > 0).astype(int))
    while shares.sum() < total:
        shares[np.argmax(np.where(shares < counts, exact - shares, -np.inf))] += 1
    while shares.sum() > total:
        shares[np.argmax(np.where(shares > 1, shares - exact, -np.inf))] -= 1
    return np.asarray(shares)


def _folds(train: Examples, regime: Regime, seed: int) -> np.ndarray:
    """Fold of each train row, [n]; stratified by class, groups kept whole."""
    folds = np.zeros(len(train), dtype=int)
    smallest = int(np.unique(train.truth, return_counts=True)[1].min())
    count = min(regime.folds, smallest, len(np.unique(train.groups)))
    if len(np.unique(train.groups)) < 2:
        raise FairfightError(
            f"Regime {regime.name} drew {len(train)} rows of a single group, which folds cannot split; "
            f"raise regime.labels or use a finer group rule."
        )
    if count < 2:
        raise FairfightError(
            f"Regime {regime.name} leaves {smallest} example(s) of the rarest class to train on, too few for two "
            f"folds; raise regime.labels."
        )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(train.prompts, train.truth, train.groups)):
        folds[held_out] = fold
    return folds


def _refuse_empty_class(name: str, brief: Brief, where: str, examples: Examples) -> None:
    present = set(examples.truth.tolist())
    empty = [c for i, c in enumerate(brief.classes) if i not in present]
    if empty:
        raise FairfightError(
            f"Task {name} has no example of class {empty[0]!r} among its {len(examples)} {where} rows; "
            f"bring more rows of that class, or ask for more labels or test rows."
        )


def _hash(text: str) -> str:
    return hashlib.sha256(f"fairfight:{text}".encode()).hexdigest()

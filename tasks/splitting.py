"""Who is asked what: fixed test halves, seeded train sets, folds shared by all contenders.

Everything that touches the test rows depends on the data alone (rows are ordered by a hash of their
group), so a seed redraws train and dev but never the test, and a smaller test is a prefix of a larger.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from arena.contract import Brief, Examples, FairfightError, Part, Regime

STANDARD_LABELS = 512  # what the standard regime trains on ...
LEAST_TEST = 500  # ... beside a test of at least so many rows, or else the test is a third
MOST_TEST = 2000  # rows of the test, both halves together
FEWEST_TEST = 50
MOST_IN_PAIRS = 20  # rows: pairs grow with their square


def split(
    name: str,
    brief: Brief,
    data: Examples,
    regime: Regime,
    seed: int,
    target: Examples | None = None,
    barred: np.ndarray | None = None,
) -> Part:
    """One part of a task: its train set, folds and both halves of its test.

    With `target` the test rows come from there. The train rows are the same with and without: of `data`, outside
    its own test, and not among the rows that are `barred` ([n] bool).
    """
    own_test = _test_rows(name, data)
    rest = np.setdiff1d(np.arange(len(data)), own_test)
    if barred is not None:
        rest = rest[~barred[rest]]
    asked = data if target is None else target
    test = own_test if target is None else _test_rows(name, target, whole=True)
    halves = [_rebalanced(asked, half, regime, regime.test) for half in _halves(asked, test)]
    train = data.take(_draw(name, brief, data, rest, regime, seed))
    part = Part(
        name=name,
        brief=brief,
        train=_noisy(train, brief, regime, seed),
        folds=_pairs(name, train, regime) if regime.pairs else _folds(train, regime, seed),
        public=asked.take(halves[0]),
        lockbox=asked.take(halves[1]),
    )
    for where, examples in (("train", part.train), ("public", part.public), ("lockbox", part.lockbox)):
        _refuse_empty_class(name, brief, where, examples)
    return part


def given(name: str, brief: Brief, data: Examples, asked: Examples, regime: Regime, seed: int) -> Part:
    """One part of a task whose data come with a test of their own: train rows are drawn from all of `data`, and both
    halves of the test from `asked`."""
    halves = [_rebalanced(asked, half, regime, regime.test) for half in _halves(asked, np.arange(len(asked)))]
    train, folds = taught(name, brief, data, regime, seed)
    part = Part(name, brief, train, folds, asked.take(halves[0]), asked.take(halves[1]))
    for where, examples in (("train", part.train), ("public", part.public), ("lockbox", part.lockbox)):
        _refuse_empty_class(name, brief, where, examples)
    return part


def taught(
    name: str, brief: Brief, data: Examples, regime: Regime, seed: int
) -> tuple[Examples, tuple[np.ndarray, ...]]:
    """Train rows drawn from all of `data`, and their folds."""
    train = _noisy(data.take(_draw(name, brief, data, np.arange(len(data)), regime, seed)), brief, regime, seed)
    _refuse_empty_class(name, brief, "train", train)
    return train, _pairs(name, train, regime) if regime.pairs else _folds(train, regime, seed)


def test_size(rows: int) -> int:
    """Rows of the test: what the standard regime leaves, at most 2,000; of a small set a third."""
    if rows >= STANDARD_LABELS + LEAST_TEST:
        return min(MOST_TEST, rows - STANDARD_LABELS)
    return rows // 3


def _test_rows(name: str, data: Examples, whole: bool = False) -> np.ndarray:
    """Indices of the test rows in their fixed order; whole groups, in the order of their hash.

    `whole` data are all test, up to the most that a test takes.
    """
    wanted = min(MOST_TEST, len(data)) if whole else test_size(len(data))
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


def _rebalanced(data: Examples, rows: np.ndarray, regime: Regime, most: int) -> np.ndarray:
    """The longest choice of at most so many rows, in their order, in which class 1 has the regime's share."""
    if regime.positive is None:
        return rows[:most]
    positive = data.truth[rows] == 1
    share = regime.positive
    rare = min(int(positive.sum()), round((~positive).sum() * share / (1 - share)), round(most * share))
    common = min(int((~positive).sum()), round(rare * (1 - share) / share), most - rare)
    kept = (np.cumsum(positive) <= rare) & positive | (np.cumsum(~positive) <= common) & ~positive
    return np.asarray(rows[kept])


def _draw(name: str, brief: Brief, data: Examples, rest: np.ndarray, regime: Regime, seed: int) -> np.ndarray:
    """Seeded draw of `regime.labels` rows in the classes' own proportions (two each where there is room)."""
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(rest)
    if regime.positive is not None:
        order = _rebalanced(data, order, regime, len(order))
    if len(order) < regime.labels * regime.shrink:
        share = "" if regime.positive is None else f" with {regime.positive:.0%} of class {brief.classes[1]!r}"
        raise FairfightError(
            f"Regime {regime.name} asks for {regime.labels} labels (at least {regime.labels * regime.shrink:.0f}) and "
            f"task {name} has {len(order)} rows{share} beside its test; lower regime.labels or choose a larger task."
        )
    if regime.labels < 2 * len(brief.classes):
        raise FairfightError(
            f"Regime {regime.name} asks for {regime.labels} labels and task {name} has {len(brief.classes)} classes, "
            f"which need two each; raise regime.labels to {2 * len(brief.classes)} or more."
        )
    classes = data.truth[order]
    counts = np.bincount(classes, minlength=len(brief.classes))
    wanted = _proportional(counts, min(regime.labels, len(order)))
    drawn = np.concatenate([order[classes == c][: wanted[c]] for c in range(len(counts))])
    return np.asarray(rng.permutation(drawn))


def _proportional(counts: np.ndarray, total: int) -> np.ndarray:
    """`total` shared out in proportion to `counts` by largest remainders, two at least where there are two."""
    exact = counts * total / counts.sum()
    least = np.minimum(counts, 2)
    shares = np.maximum(np.floor(exact).astype(int), least)
    while shares.sum() < total:
        shares[np.argmax(np.where(shares < counts, exact - shares, -np.inf))] += 1
    while shares.sum() > total:
        shares[np.argmax(np.where(shares > least, shares - exact, -np.inf))] -= 1
    return np.asarray(shares)


def _noisy(train: Examples, brief: Brief, regime: Regime, seed: int) -> Examples:
    """The train rows with the regime's share of labels turned to another class, seeded."""
    if not regime.noise:
        return train
    rng = np.random.default_rng([seed, 2])
    wrong = rng.permutation(len(train))[: round(regime.noise * len(train))]
    labels = train.truth.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, len(brief.classes), len(wrong))) % len(brief.classes)
    return replace(train, labels=labels, peers=None)  # which are of the true labels


def _folds(train: Examples, regime: Regime, seed: int) -> tuple[np.ndarray, ...]:
    """Held-out rows of each fold; stratified by the true class, groups kept whole."""
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
    return tuple(held_out for _, held_out in splitter.split(train.prompts, train.truth, train.groups))


def _pairs(name: str, train: Examples, regime: Regime) -> tuple[np.ndarray, ...]:
    """Every pair of rows of two classes with their groups' other rows, where that leaves a row of each class."""
    if len(train) > MOST_IN_PAIRS:
        raise FairfightError(
            f"Regime {regime.name} would hold out every pair of {len(train)} rows; use regime.pairs=false "
            f"beyond {MOST_IN_PAIRS}."
        )
    held_out = []
    for i, j in itertools.combinations(range(len(train)), 2):
        out = np.isin(train.groups, train.groups[[i, j]])
        if train.truth[i] != train.truth[j] and set(train.truth[~out]) == set(train.truth):
            held_out.append(np.array([i, j]))
    if not held_out:
        raise FairfightError(
            f"Regime {regime.name} drew {len(train)} rows of task {name} of which no pair can be held out without "
            f"losing a class; raise regime.labels."
        )
    return tuple(held_out)


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

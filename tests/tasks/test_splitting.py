"""Splits: sizes, seeds, groups, and regimes that the data cannot serve."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contract import Examples, FairfightError, Regime
from tasks.splitting import split, test_size
from tests.conftest import BRIEF

test_size.__test__ = False  # type: ignore[attr-defined]
QUICK = Regime("quick", labels=64, test=40, folds=4, shrink=0.25)


def data(n: int, per_group: int = 1, positive: float = 0.5) -> Examples:
    labels = (np.arange(n) % 100 < positive * 100).astype(int)
    labels = np.random.default_rng(0).permutation(labels)
    return Examples(
        tuple(f"id{i}" for i in range(n)), tuple(f"t{i}" for i in range(n)), labels, np.arange(n) // per_group
    )


@pytest.mark.parametrize(
    ("rows", "expected"), [(150, 50), (1011, 337), (1012, 500), (2000, 1488), (2512, 2000), (9999, 2000)]
)
def test_test_sizes(rows: int, expected: int) -> None:
    assert test_size(rows) == expected


def test_seeds_redraw_train_and_never_the_test() -> None:
    parts = [split("t", BRIEF, data(600), QUICK, seed) for seed in (0, 0, 1)]
    assert parts[0].train.ids == parts[1].train.ids != parts[2].train.ids
    assert parts[0].public.ids == parts[2].public.ids
    assert parts[0].lockbox.ids == parts[2].lockbox.ids


def test_the_order_of_the_rows_does_not_matter_to_the_test() -> None:
    rows = data(600)
    shuffled = rows.take(np.random.default_rng(1).permutation(600))
    assert split("t", BRIEF, rows, QUICK, 0).public.ids == split("t", BRIEF, shuffled, QUICK, 0).public.ids


def test_train_keeps_the_classes_proportions() -> None:
    part = split("t", BRIEF, data(2000, positive=0.05), Regime("r", 64, 2000, 2), 0)
    tested = np.concatenate([part.public.truth, part.lockbox.truth])
    left = (100 - tested.sum()) / (2000 - len(tested))
    assert abs(part.train.truth.sum() - left * 64) < 1


@pytest.mark.parametrize("per_group", [1, 3, 12])
def test_groups_never_straddle(per_group: int) -> None:
    part = split("t", BRIEF, data(960, per_group), QUICK, 0)
    train, public, lockbox = (set(e.groups.tolist()) for e in (part.train, part.public, part.lockbox))
    assert not (train & public or train & lockbox or public & lockbox)


def test_a_giant_group_stays_in_train() -> None:
    rows = data(900)
    rows.groups[:400] = 0
    part = split("t", BRIEF, rows, Regime("r", 64, 1000, 4), 0)
    assert 0 not in part.public.groups
    assert 0 not in part.lockbox.groups
    assert 100 < len(part.public) < 200


def test_halves_are_of_like_size() -> None:
    part = split("t", BRIEF, data(3000, 5), Regime("r", 512, 1000, 5), 0)
    assert (len(part.public), len(part.lockbox)) == (1000, 1000)


def test_too_few_prompts_for_a_test() -> None:
    with pytest.raises(FairfightError, match=r"149 clean prompts.*below the 50.*at least 150"):
        split("t", BRIEF, data(149), QUICK, 0)


def test_a_train_size_above_the_data() -> None:
    with pytest.raises(FairfightError, match=r"asks for 5000 labels .*400 rows beside its test; lower regime.labels"):
        split("t", BRIEF, data(600), Regime("big", 5000, 40, 4, shrink=0.25), 0)
    small = split("t", BRIEF, data(160), Regime("r", 400, 40, 4, shrink=0.25), 0)
    assert len(small.train) == 160 - 53


def test_groups_too_large_for_a_test() -> None:
    with pytest.raises(FairfightError, match=r"so large groups that only \d+ rows"):
        split("t", BRIEF, data(300, per_group=150), QUICK, 0)


def test_a_single_group_of_train_rows() -> None:
    rows = data(300)
    rows.groups[:] = np.r_[np.zeros(200, dtype=int), np.arange(1, 101)]
    with pytest.raises(FairfightError, match="single group"):
        split("t", BRIEF, rows, Regime("r", 150, 40, 4), 0)


def test_an_empty_class_is_named() -> None:
    rows = data(600, positive=0.0)
    with pytest.raises(FairfightError, match=r"no example of class 'good'"):
        split("t", BRIEF, rows, QUICK, 0)


def test_a_class_too_rare_for_folds() -> None:
    rows = data(600, positive=0.01)
    with pytest.raises(FairfightError, match="too few for two folds"):
        split("t", BRIEF, rows, Regime("r", 20, 400, 4), 0)

"""Splits: sizes, seeds, groups, and regimes that the data cannot serve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arena.contract import Examples, FairfightError, Regime
from tasks import splitting
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
    rows = data(600).take([*np.flatnonzero(data(600).truth == 0)[:30].tolist(), int(data(600).truth.argmax())])
    with pytest.raises(FairfightError, match="too few for two folds"):
        splitting._folds(rows, QUICK, 0)


@pytest.mark.parametrize("labels", [4, 8, 12])
def test_few_labels_are_held_out_in_pairs(labels: int) -> None:
    part = split("t", BRIEF, data(600), Regime("few", labels, 100, 2, pairs=True), 0)
    half = labels // 2
    assert len(part.train) == labels
    assert len(part.folds) == half * half
    assert all(set(part.train.truth[pair]) == {0, 1} for pair in part.folds)


def test_pairs_are_for_few_labels() -> None:
    with pytest.raises(FairfightError, match="would hold out every pair of 64 rows"):
        split("t", BRIEF, data(600), Regime("many", 64, 100, 2, pairs=True), 0)


def test_pairs_leave_out_their_groups() -> None:
    rows = data(600)
    part = split("t", BRIEF, rows, Regime("few", 8, 100, 2, pairs=True), 0)
    part.train.groups[:] = [0, 0, 1, 2, 3, 4, 5, 6]
    for pair in splitting._pairs("t", part.train, Regime("few", 8, 100, 2, pairs=True)):
        left = ~np.isin(part.train.groups, part.train.groups[pair])
        assert set(part.train.truth[left]) == {0, 1}


def test_a_rare_class_has_two_rows_at_least() -> None:
    part = split("t", BRIEF, data(2000, positive=0.05), Regime("few", 8, 200, 2, pairs=True), 0)
    assert part.train.truth.sum() == 2
    with pytest.raises(FairfightError, match="has 2 classes, which need two each"):
        split("t", BRIEF, data(2000), Regime("few", 3, 200, 2, pairs=True), 0)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.8])
def test_an_imbalance_holds_in_train_and_test(share: float) -> None:
    regime = Regime("i", 400, 1000, 5, 0.25, positive=share)
    part = split("t", BRIEF, data(6000), regime, 0)
    for examples in (part.train, part.public, part.lockbox):
        assert examples.truth.mean() == pytest.approx(share, abs=0.005)
    assert len(part.train) == 400
    plain = split("t", BRIEF, data(6000), Regime("s", 400, 1000, 5, 0.25), 0)
    assert set(part.public.ids) <= set(plain.public.ids)


@pytest.mark.parametrize("test", [50, 200, 300])
def test_an_imbalance_holds_in_a_small_test(test: int) -> None:
    part = split("t", BRIEF, data(6000), Regime("i", 400, test, 5, 0.25, positive=0.2), 0)
    assert part.public.truth.mean() == pytest.approx(0.2, abs=0.01)
    assert len(part.public) == test


def test_an_imbalance_that_the_data_cannot_serve_says_so() -> None:
    with pytest.raises(FairfightError, match=r"rows with 90% of class 'good' beside its test"):
        split("t", BRIEF, data(900, positive=0.2), Regime("i", 400, 1000, 5, 0.9, positive=0.9), 0)


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_noise_is_in_train_and_never_in_the_test(noise: float) -> None:
    clean = split("t", BRIEF, data(2000), Regime("s", 400, 500, 5), 0)
    noisy = split("t", BRIEF, data(2000), Regime("n", 400, 500, 5, noise=noise), 0)
    assert noisy.train.ids == clean.train.ids
    assert (noisy.train.truth != clean.train.truth).mean() == pytest.approx(noise)
    peered = replace(data(2000), peers=data(2000).prompts)  # made of the true labels, which they would tell
    assert split("t", BRIEF, peered, Regime("n", 400, 500, 5, noise=noise), 0).train.peers is None
    assert split("t", BRIEF, peered, Regime("n", 400, 500, 5), 0).train.peers is not None
    np.testing.assert_array_equal(noisy.public.truth, clean.public.truth)
    for one, other in zip(noisy.folds, clean.folds, strict=True):
        np.testing.assert_array_equal(one, other)
    again = split("t", BRIEF, data(2000), Regime("n", 400, 500, 5, noise=noise), 0)
    np.testing.assert_array_equal(noisy.train.truth, again.train.truth)


def test_a_target_gives_the_test_and_leaves_the_train_rows() -> None:
    rows, other = data(900), data(300)
    target = Examples(tuple(f"o{i}" for i in range(300)), other.prompts, other.labels, other.groups)
    here = split("t", BRIEF, rows, QUICK, 0)
    there = split("t", BRIEF, rows, QUICK, 0, target)
    assert there.train.ids == here.train.ids
    assert set(there.public.ids) | set(there.lockbox.ids) <= set(target.ids)
    assert (len(there.public), len(there.lockbox)) == (40, 40)

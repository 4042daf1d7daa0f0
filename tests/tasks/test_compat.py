"""The split of the sae-probes package, against indices drawn by its own code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from arena.contract import FairfightError, Regime
from benchmarks.sae_probes_peer import SETS, TOLERANCE
from runners.compose import raw
from runners.trials import along
from tasks import compat
from tasks.capitals import Capitals
from tasks.sae_probes import SaeProbes
from tests.conftest import BRIEF

TRAIN = [61, 106, 3, 45, 161, 28, 15, 72, 51, 177, 1, 147]
TEST = [91, 96, 63, 171, 104, 127, 107, 38, 108, 29, 128, 26]
REGIME = Regime("sae_probes_compat", 1024, 4000, 2, protocol="sae_probes")


def part(rows: int, labels: int, seed: int = 0, flipped: bool = False) -> compat.Part:
    truth = np.arange(rows) % 2
    regime = Regime("c", labels, 4000, 2, protocol="sae_probes")
    return compat.split("t", BRIEF, [f"text {i}" for i in range(rows)], truth, flipped, regime, seed)


def test_indices_are_those_of_the_package() -> None:
    """Drawn by sae_probes 0.4.2: get_train_test_indices(y, 50, 40, 0.5, 42) for y = [0, 1, 1] * 60."""
    train, test = compat._indices(np.array([0, 1, 1] * 60), 50, 40, 42)
    assert train[:12].tolist() == TRAIN
    assert test[:12].tolist() == TEST


def test_small_sets_are_cross_validated_as_there() -> None:
    held_out = part(400, 200).folds
    assert [f.tolist() for f in held_out] == [list(range(160, 200))]
    assert [len(f) for f in part(1600, 1024).folds] == [100]
    assert len(part(400, 100).folds) == 6
    pairs = part(400, 8).folds
    assert len(pairs) == 16  # of 28, those of two classes
    assert all(len(p) == 2 for p in pairs)


def test_duplicates_stay() -> None:
    regime = Regime("c", 60, 400, 2, protocol="sae_probes")
    made = compat.split("t", BRIEF, ["same"] * 300, np.arange(300) % 2, False, regime, 0)
    assert len(made.train) == 60
    assert len(set(made.public.ids)) == len(made.public) > 100


def test_who_is_drawn_first_does_not_change_the_sizes() -> None:
    one, other = part(400, 101), part(400, 101, flipped=True)
    assert one.train.truth.sum() == 51
    assert other.train.truth.sum() == 50


def test_an_unbalanced_set_is_refused() -> None:
    with pytest.raises(FairfightError, match="balanced classes"):
        compat.split("t", BRIEF, [str(i) for i in range(400)], np.arange(400) % 4 // 3, False, REGIME, 0)


def test_other_tasks_have_no_such_split() -> None:
    with pytest.raises(FairfightError, match="is for the binary sets of sae-probes and task capitals is none"):
        Capitals().split(REGIME, 0)
    with pytest.raises(FairfightError, match=r"Unknown regime\.protocol='theirs'"):
        Capitals().split(Regime("r", 10, 10, 2, protocol="theirs"), 0)


def test_the_experiment_tries_the_package_s_ten_penalties_in_its_order() -> None:
    """`find_best_reg` goes through np.logspace(5, -5, 10) and keeps the first of the best."""
    probe = raw("experiment", "sae_probes_compat")["contender"]["linear_probe"]
    np.testing.assert_allclose(probe["path"]["C"], np.logspace(5, -5, 10), rtol=1e-12)
    assert [step["C"] for step in along({"C": probe["C"]}, probe["path"])] == probe["path"]["C"]


def test_the_table_of_the_peer_is_within_its_tolerance() -> None:
    told = (Path(__file__).parents[2] / "benchmarks" / "sae_probes_peer.md").read_text()
    rows = re.findall(r"^\| (\d+_\w+) \| \d+ \| ([\d.]+) \| ([\d.]+) \| ([+-][\d.]+) \| (\S+) \| (\S+) \|$", told, re.M)
    assert [name for name, *_ in rows] == list(SETS)
    worst = max(abs(float(difference)) for _, _, _, difference, *_ in rows)
    assert worst < 0.002 == TOLERANCE
    assert f"Largest difference: {worst:.4f}" in told
    for _, theirs, ours, difference, *penalties in rows:
        assert float(ours) - float(theirs) == pytest.approx(float(difference), abs=1.01e-4)
        assert penalties[0] == penalties[1]


@pytest.mark.slow
def test_a_real_set_keeps_its_repetitions() -> None:
    made = SaeProbes("95_toxic_is").split(REGIME, 0).parts[0]
    prompts = set(made.train.prompts)
    assert sum(p in prompts for p in made.public.prompts) > 10
    assert len(made.lockbox) == 0

"""Every regime gives what its name and its file say, on one small task."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arena.contract import Examples, Part, Regime
from runners.compose import composed, options
from tasks import compat
from tasks.splitting import split
from tests.conftest import BRIEF
from tests.tasks.test_splitting import data

ROWS = data(6000)
ELSEWHERE = replace(data(3000), ids=tuple(f"there {i}" for i in range(3000)))
REST = {"standard": (512, 1000, 5), "shifted": (512, 1000, 5), "quick": (256, 150, 3)}  # labels, test rows, folds


@functools.cache
def regime(name: str) -> Regime:
    return Regime(**composed("run", ["task=sst2", f"regime={name}"])["regime"])


def given(name: str, **changed: Any) -> Part:
    made = replace(regime(name), **changed)
    return split("t", BRIEF, ROWS, made, 0, ELSEWHERE if made.shift else None)


def rows_of(part: Part) -> tuple[Examples, ...]:
    return part.train, part.public, part.lockbox


@pytest.mark.parametrize("name", [name for name in options("regime") if name != "sae_probes_compat"])
def test_a_regime_gives_what_it_is_called(name: str) -> None:
    part, (kind, _, number) = given(name), name.partition("_")
    assert regime(name).name == name
    labels, test, folds = REST.get(name, (512, 1000, 5))
    if kind == "few":
        labels = int(number)
    asked, slack = [test] * 2, 0.0
    if kind == "imbalanced":  # the rows of class 0 that a half has, and so many of the other as make the share
        share, plain = int(number) / 100, given("standard")
        asked = [round((half.truth == 0).sum() / (1 - share)) for half in (plain.public, plain.lockbox)]
        slack = 0.5 / share  # half a row of the rare class
    assert len(part.train) == labels
    assert [len(part.public), len(part.lockbox)] == pytest.approx(asked, abs=slack)
    assert len({*part.train.ids, *part.public.ids, *part.lockbox.ids}) == sum(map(len, rows_of(part)))
    assert regime(name).pairs == (labels <= 12)
    if labels <= 12:  # each row of one class beside each of the other
        pairs = {tuple(sorted(held_out.tolist())) for held_out in part.folds}
        assert len(pairs) == len(part.folds) == (labels // 2) ** 2
        assert all(sorted(part.train.truth[list(pair)]) == [0, 1] for pair in pairs)
    else:
        assert len(part.folds) == folds
        assert sorted(np.concatenate(part.folds).tolist()) == list(range(labels))
    positive = int(number) / 100 if kind == "imbalanced" else 0.5
    clean = given(name, noise=0.0) if kind == "noisy" else part
    assert [rows.truth.mean() for rows in rows_of(clean)] == pytest.approx(
        [positive] * 3, abs=0.035 if kind != "imbalanced" else 0.002
    )
    wrong = (part.train.truth != truth_of(part.train)).mean()
    assert wrong == pytest.approx(int(number) / 100 if kind == "noisy" else 0.0, abs=0.5 / labels)
    for half in (part.public, part.lockbox):
        np.testing.assert_array_equal(half.truth, truth_of(half))
        assert all(i.startswith("there") == (name == "shifted") for i in half.ids)


def truth_of(rows: Examples) -> np.ndarray:
    """The labels that the data have."""
    known = {i: y for source in (ROWS, ELSEWHERE) for i, y in zip(source.ids, source.truth, strict=True)}
    return np.array([known[i] for i in rows.ids])


def test_every_kind_of_regime_is_known_here() -> None:
    """A new file of another kind needs its numbers in this test."""
    kinds = re.compile(r"few_\d+|imbalanced_\d\d|noisy_\d\d|" + "|".join([*REST, "sae_probes_compat"]))
    assert [name for name in options("regime") if not kinds.fullmatch(name)] == []


def test_the_peer_s_regime_is_its_split() -> None:
    """1,024 rows to train on, one block of 100 held out, all other rows asked, what stands twice kept."""
    prompts = [f"text {i % 2500}" for i in range(5000)]
    part = compat.split("t", BRIEF, prompts, np.arange(5000) // 2500, False, regime("sae_probes_compat"), 0)
    assert regime("sae_probes_compat").protocol == "sae_probes"
    assert (len(part.train), len(part.public), len(part.lockbox)) == (1024, 3975, 0)
    assert [len(held_out) for held_out in part.folds] == [100]
    assert set(part.train.prompts) & set(part.public.prompts)

"""docs/verdicts.md is what the published records of the lockbox half give."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from results import leaderboard, render, stats
from results.quiver import quivers
from results.stats import below, holm
from results.store import Store
from results.table import Table
from results.verdicts import ALPHA, verdicts

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "verdicts.md"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def halves() -> tuple[Table, Table]:
    """The lockbox half, and the public half of the same tasks and contenders."""
    records = [
        r
        for r in Store(ROOT / "results" / "published" / "core").records()
        if (r.cell.regime["name"], r.cell.budget["name"]) == ("standard", "small")
    ]
    asked = [r for r in records if r.cell.half == "lockbox"]
    cells = {name: {r.cell.task["name"] if name == "task" else r.cell.contender["name"] for r in asked} for name in
             ("task", "contender")}  # fmt: skip
    (lockbox,) = leaderboard.build(asked)
    (public,) = leaderboard.build(
        r
        for r in records
        if r.cell.half == "public"
        and r.cell.task["name"] in cells["task"]
        and r.cell.contender["name"] in cells["contender"]
    )
    assert all(r.about["lockbox_opened"] for r in asked)
    return lockbox, public


def test_tables_and_sentences_are_those_of_the_leaderboard(halves: tuple[Table, Table]) -> None:
    printed = render.as_markdown([halves[0]]).splitlines()
    shown = [line for line in PAGE.read_text().splitlines() if line.startswith(("|", "- "))]
    assert len(shown) > 40 and set(shown) <= set(printed)
    methods = halves[0].complete_ones("method")
    assert sum(line.startswith("- ") for line in shown) == len(methods)


def test_what_is_said_of_power_and_of_many_tests(halves: tuple[Table, Table]) -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    each = [v for v in verdicts(halves[0]) if v.task != "all" and v.gap is not None]
    told = [v for v in each if v.word != "too few"]
    able = np.median([v.detectable for v in told if v.detectable is not None])
    power = np.median([v.power for v in told if v.power is not None])
    assert f"of the {len(told)} verdicts that are not *too few*" in text
    assert f"4 times in 5 is {able:.3f}, and the median power to find one of 0.02 is {100 * power:.1f} %" in text
    losses = [v for v in each if v.word == "loses"]
    adjusted = holm([below(v.gap) for v in each if v.gap is not None])
    left = [v.method for v, p in zip(each, adjusted, strict=True) if v.word == "loses" and p <= ALPHA]
    assert f"adjusted over all {len(each)}, {len(left)} of the {len(losses)} would remain" in text
    assert f"({left.count('sae_probe')} of those of `sae_probe`, none of `mass_mean` and `sae_all`)" in text
    assert not {"mass_mean", "sae_all"} & set(left)


def test_the_losses_that_a_rule_made_after_the_opening_are_named(
    halves: tuple[Table, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what seeds do to single examples counted twice, as it was when the last task was opened."""
    lockbox, text = halves[0], re.sub(r"\s+", " ", PAGE.read_text())
    now = {(v.method, v.task): v.word for v in verdicts(lockbox)}
    twice = stats.Clusters.variance

    def nothing_of_seeds(self: stats.Clusters, influence: np.ndarray) -> np.ndarray:
        return twice(self, influence) * (influence.ndim == 2)  # [metrics, groups]; by seed it has three

    monkeypatch.setattr(stats.Clusters, "variance", nothing_of_seeds)
    then = {(v.method, v.task): v.word for v in verdicts(replace(lockbox))}
    changed = {where for where, word in now.items() if then[where] != word}
    assert {(then[where], now[where]) for where in changed} == {("inconclusive", "loses")}
    assert f"{len(changed)} of the {list(now.values()).count('loses') - 11} losses below would be inconclusive" in text
    told = text[text.index("would be inconclusive without it") : text.index("and none over all tasks")]
    assert (
        all(f"`{method}`" in told and task in told for method, task in changed) and "all" not in dict(changed).values()
    )


def test_the_prose(halves: tuple[Table, Table]) -> None:
    lockbox, public = halves
    text = re.sub(r"\s+", " ", PAGE.read_text())
    assert f"{len(lockbox.tasks)} tasks of the suite, each of another family: {', '.join(lockbox.tasks)}." in text
    assert len({lockbox.families[task] for task in lockbox.tasks}) == len(lockbox.tasks)
    pool = lockbox.complete_ones("baseline")
    assert f"The pool has {len(pool)} baselines: {', '.join(pool)}." in text
    found = {(v.task, v.method): v for v in verdicts(lockbox)}
    words = {where: v.word for where, v in found.items()}
    methods = lockbox.complete_ones("method")
    assert f"over all tasks each of the {len(methods)} loses" in text
    assert "beats" not in words.values() and "void" not in words.values()
    assert {(v.word, v.opponent) for v in found.values() if v.task == "all"} == {("loses", "multi_site_probe")}
    assert all(q.interval is not None and q.interval[0] <= 0 <= q.interval[1] for q in quivers(lockbox))
    both = [c for c in lockbox.contenders if lockbox.complete(c) and public.complete(c)]
    means = [[s.estimate.value for c in both if (s := t.find("all", c)) is not None] for t in halves]
    assert f"correlation {scipy.stats.spearmanr(*means).statistic:.3f} over {len(both)} contenders" in text
    assert f"differs by more than {np.abs(np.subtract(*means)).max():.3f}" in text
    before = {(v.task, v.method): v.word for v in verdicts(public)}
    same = sum(before[where] == word for where, word in words.items())
    assert f"{same} of {len(words)} verdicts have the same word; 0 turn" in text
    assert not any({before[where], word} == {"beats", "loses"} for where, word in words.items())
    changed = [{before[where], word} for where, word in words.items() if before[where] != word]
    assert sum("inconclusive" in each for each in changed) > len(changed) / 2


def test_who_is_missing() -> None:
    """Of the lockbox, and from every pool."""
    text = re.sub(r"\s+", " ", PAGE.read_text())
    cells = [r.cell for r in Store(ROOT / "results" / "published" / "core").records()]
    asked = {(c.contender["name"], c.task["name"]) for c in cells if c.half == "lockbox"}
    few = {(name, task) for name, task in asked if name in {"zero_shot", "few_shot", "ccs", "lora"}}
    assert few == {("zero_shot", "hist_fig_gender"), ("few_shot", "hist_fig_gender")}
    assert "`zero_shot` and `few_shot` answered hist_fig_gender only, and `lora` nothing" in text
    assert "`ccs` is missing: it answered nothing of this half" in text
    assert {c.budget["name"] for c in cells if c.contender["name"] == "lora"} == {"finetune"}
    assert {c.contender["name"] for c in cells if c.budget["name"] == "finetune"} == {"lora"}

"""Shifts: the same training rows, other test rows, and nobody asked about whom one was taught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contract import FairfightError, Regime
from runners import build
from runners.compose import plain, raw
from tasks.grouping import shared_with
from tests.conftest import reviews

HERE = Regime("standard", 100, 40, 3, 0.25)
THERE = Regime("shifted", 100, 40, 3, 0.25, shift=True)


def write(path: Path, rows: list[tuple[str, str]]) -> dict[str, Any]:
    path.write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in rows))
    return {"_target_": "tasks.file.File", "path": str(path)}


@pytest.fixture
def shift(tmp_path: Path) -> Any:
    source, target = reviews(240, 0), reviews(120, 9)
    target[:5] = [(" ".join(reversed(text.split())), label) for text, label in source[:5]]
    return build.task(
        {
            "_target_": "tasks.shifted.Shifted",
            "train": write(tmp_path / "here.jsonl", source),
            "test": write(tmp_path / "there.jsonl", target),
        },
        [],
    )


def test_test_rows_come_from_there_and_train_rows_from_here(shift: Any) -> None:
    here, there = shift.split(HERE, 0), shift.split(THERE, 0)
    assert here.parts[0].train.ids == there.parts[0].train.ids
    asked = set(there.parts[0].public.prompts) | set(there.parts[0].lockbox.prompts)
    assert asked <= set(shift.test.data[0].prompts)
    assert not set(here.parts[0].public.prompts) & asked
    assert there.cleaning["rows_shared_with_target"] == 5
    assert there.cleaning["target_rows"] == 120
    assert shift.meta.name == "here_to_there"


def test_the_lockbox_stays_the_lockbox(shift: Any) -> None:
    """Barred rows leave the train sets alone: the halves are those of the task without a shift."""
    alone, here = shift.train.split(HERE, 0).parts[0], shift.split(HERE, 0).parts[0]
    assert (here.public.ids, here.lockbox.ids) == (alone.public.ids, alone.lockbox.ids)


def test_rows_that_share_with_the_target_are_in_no_train_set(shift: Any) -> None:
    shared = {text for text, _ in reviews(240, 0)[:5]}
    for seed in range(3):
        assert not shared & set(shift.split(THERE, seed).parts[0].train.prompts)


@pytest.mark.parametrize(
    ("one", "other", "linked"),
    [
        ("Nelsan Ellis", "xNelsan Ellis", True),
        ("Nelsan Ellis", "Nelsan Elli", True),
        ("Nelsan Ellis", "Nelson Ellis", True),
        ("Albin Moller", "Moller Albin", True),
        ("Albin Moller", "Nelsan Ellis", False),
        ("one two three four five six seven", "one two three four five six eight", True),  # near-duplicates
    ],
)
def test_what_belongs_together(one: str, other: str, linked: bool) -> None:
    assert shared_with([one, "something else"], [other]).tolist() == [linked, False]


def test_a_task_without_a_shift_says_so(tmp_path: Path) -> None:
    task = build.task(write(tmp_path / "here.jsonl", reviews(240)), [])
    with pytest.raises(FairfightError, match="choose a task with a shift"):
        task.split(THERE, 0)


def test_an_unknown_part_names_the_known() -> None:
    with pytest.raises(FairfightError, match=r"task.train='nope' is no task; choose one of .*sst2"):
        build.task({"_target_": "tasks.shifted.Shifted", "train": "nope", "test": "sst2"}, [])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "at_least"), [("shift_hist_fig_american", 250), ("shift_hist_fig_politician", 250)])
def test_published_shifts_ask_about_the_people_they_train_on(name: str, at_least: int) -> None:
    """Every one of the 300 people of these two sets stands in its training set; here none does."""
    made = build.task(plain("task", name), [], raw("model", "smollm2_135m"))
    split = made.split(Regime("shifted", 512, 1000, 5, 0.25, shift=True), 0)
    assert split.cleaning["rows_shared_with_target"] >= at_least
    part = split.parts[0]
    letters = [{"".join(sorted(p.casefold())) for p in e.prompts} for e in (part.train, part.public)]
    assert not letters[0] & letters[1]
    assert len(np.unique(part.public.truth)) == 2

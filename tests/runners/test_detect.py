"""The protocol of track detect, watched through contenders that take notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Part, Regime, Sites
from arena.lab import Lab
from results.metrics import auroc
from runners.build import Contender
from runners.tracks import detect
from tasks.splitting import split
from tests.conftest import BRIEF, examples


class Spy:
    """Scores by a hidden truth, better for a larger `skill`; notes what it was shown."""

    meta = ContenderMeta("spy", 1, "baseline", ("labels",))
    notes: ClassVar[list[tuple[str, float, Examples]]] = []
    truth: ClassVar[dict[str, int]] = {}

    def __init__(self, skill: float = 0.0, C: float = 1.0) -> None:
        self.skill, self.C = skill, C

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.notes.append(("fit", self.skill, train))
        self.noise_ = lab.rng.normal(size=2)
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        self.notes.append(("score", self.skill, asked))
        rng = np.random.default_rng([int(i[2:]) for i in asked.ids])
        told = np.array([self.truth[i] for i in asked.ids])
        return rng.normal(size=(len(asked), 2)) + self.skill * np.eye(2)[told]


@pytest.fixture
def part() -> Part:
    Spy.notes.clear()
    data = examples(300)
    Spy.truth.update(zip(data.ids, data.truth.tolist(), strict=True))
    return split("t", BRIEF, data, Regime("r", 120, 40, 4), 0)


def spy(grid: Mapping[str, list[Any]] | None = None, path: Mapping[str, list[Any]] | None = None) -> Contender:
    return Contender("spy", Spy, {"skill": 0.0, "C": 1.0}, grid or {}, path or {})


def test_labels_are_out_of_reach_whenever_it_answers(part: Part, lab: Lab) -> None:
    detect.run(spy({"skill": [0.0, 2.0]}), 2, [part], "public", lab)
    assert all(e.labels is None for what, _, e in Spy.notes if what == "score")


def test_every_contender_meets_the_same_folds_and_the_test_once(part: Part, lab: Lab) -> None:
    detect.run(spy({"skill": [0.0, 2.0]}), 2, [part], "public", lab)
    fits = [set(e.ids) for what, _, e in Spy.notes if what == "fit"]
    expected = [
        {i for i, f in zip(part.train.ids, part.folds, strict=True) if f != fold} for fold in np.unique(part.folds)
    ]
    assert fits == expected * 2 + [set(part.train.ids)] * 2
    asked_test = [skill for what, skill, e in Spy.notes if what == "score" and e.ids == part.public.ids]
    assert asked_test == [2.0, 0.0]  # the chosen once, trial 1 once
    assert not any(set(e.ids) & set(part.lockbox.ids) for _, _, e in Spy.notes)


def test_the_best_trial_is_chosen_and_the_default_kept(part: Part, lab: Lab) -> None:
    out = detect.run(spy({"skill": [0.0, 0.5, 3.0]}), 3, [part], "public", lab)
    assert out.trials[out.chosen]["params"] == {"skill": 3.0}
    assert len(out.trials) == 3
    assert auroc(out.test.truth, out.test.score[0])[0] > 0.9 > auroc(out.untuned.truth, out.untuned.score[0])[0]


def test_ties_go_to_the_earlier(part: Part, lab: Lab) -> None:
    out = detect.run(spy({"C": [1.0, 2.0, 3.0]}, {}), 3, [part], "public", lab)
    assert out.chosen == 0
    out = detect.run(spy({}, {"C": [1.0, 2.0]}), 3, [part], "public", lab)
    assert out.trials[0]["params"] == {"C": 1.0}
    assert [step["params"] for step in out.trials[0]["path"]] == [{"C": 1.0}, {"C": 2.0}]


def test_out_of_fold_rows_come_from_fits_that_did_not_see_them(part: Part, lab: Lab) -> None:
    out = detect.run(spy(), 1, [part], "public", lab)
    assert out.dev.id == part.train.ids
    assert out.dev.fold is not None
    np.testing.assert_array_equal(out.dev.fold, part.folds)
    seen: set[str] = set()
    for what, _, e in Spy.notes[: 2 * len(np.unique(part.folds))]:
        if what == "fit":
            seen = set(e.ids)
        else:
            assert not seen & set(e.ids)


def test_the_lockbox_is_the_other_half(part: Part, lab: Lab) -> None:
    out = detect.run(spy(), 1, [part], "lockbox", lab)
    assert out.test.id == part.lockbox.ids


def test_randomness_depends_on_the_cell_alone(part: Part, lab: Lab) -> None:
    class Noisy(Spy):
        def score(self, asked: Examples, lab: Lab) -> np.ndarray:
            return np.tile(self.noise_, (len(asked), 1))

    noisy = Contender("noisy", Noisy, {"skill": 0.0, "C": 1.0}, {}, {})
    first = detect.run(noisy, 1, [part], "public", lab)
    lab.rng.normal(size=100)
    again = detect.run(noisy, 1, [part], "public", lab)
    np.testing.assert_array_equal(first.test.score, again.test.score)
    np.testing.assert_array_equal(first.dev.score, again.dev.score)


@pytest.mark.parametrize(("answer", "message"), [(np.nan, "NaN or infinite scores for 1 of"), (None, "shape")])
def test_bad_scores_are_refused_by_name(part: Part, lab: Lab, answer: float | None, message: str) -> None:
    class Broken(Spy):
        def score(self, asked: Examples, lab: Lab) -> np.ndarray:
            scores = np.zeros((len(asked), 2 if answer is not None else 3))
            if answer is not None:
                scores[0, 0] = answer
            return scores

    with pytest.raises(FairfightError, match=f"spy .*{message}"):
        detect.run(Contender("spy", Broken, {"skill": 0.0, "C": 1.0}, {}, {}), 1, [part], "public", lab)


def test_the_meter_books_every_phase(part: Part, lab: Lab) -> None:
    detect.run(spy(), 1, [part], "public", lab)
    assert {"selection", "fit", "query", "untuned", "total"} <= set(lab.meter.spent())

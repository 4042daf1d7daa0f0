"""The protocol of track detect, watched through contenders that take notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from arena.contract import Brief, Budget, ContenderMeta, Examples, FairfightError, Part, Regime, Sites
from arena.lab import Lab
from methods.token_diff_in_means import TokenDiffInMeans
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
    detect.run(spy({"skill": [0.0, 2.0]}), Budget("b", 2), [part], "public", lab)
    assert all(e.labels is None for what, _, e in Spy.notes if what == "score")


def test_strata_are_for_metrics_and_no_contender_sees_them(part: Part, lab: Lab) -> None:
    marked = replace(part, train=replace(part.train, strata=tuple("ab"[y] for y in part.train.truth)))
    out = detect.run(spy(), Budget("b", 1), [marked], "public", lab)
    assert all(shown.strata is None for _, _, shown in Spy.notes)
    assert out.dev.stratum is not None and set(out.dev.stratum) == {"a", "b"}


def test_every_contender_meets_the_same_folds_and_the_test_once(part: Part, lab: Lab) -> None:
    detect.run(spy({"skill": [0.0, 2.0]}), Budget("b", 2), [part], "public", lab)
    fits = [set(e.ids) for what, _, e in Spy.notes if what == "fit"]
    expected = [set(part.train.ids) - {part.train.ids[i] for i in held_out} for held_out in part.folds]
    assert fits == expected * 2 + [set(part.train.ids)] * 2
    asked_test = [skill for what, skill, e in Spy.notes if what == "score" and e.ids == part.public.ids]
    assert asked_test == [2.0, 0.0]  # the chosen once, trial 1 once
    assert not any(set(e.ids) & set(part.lockbox.ids) for _, _, e in Spy.notes)


def test_the_best_trial_is_chosen_and_the_default_kept(part: Part, lab: Lab) -> None:
    out = detect.run(spy({"skill": [0.0, 0.5, 3.0]}), Budget("b", 3), [part], "public", lab)
    assert out.trials[out.chosen]["params"] == {"skill": 3.0}
    assert len(out.trials) == 3
    assert auroc(out.test.truth, out.test.score[0]) > 0.9 > auroc(out.untuned.truth, out.untuned.score[0])


def test_ties_go_to_the_earlier(part: Part, lab: Lab) -> None:
    out = detect.run(spy({"C": [1.0, 2.0, 3.0]}, {}), Budget("b", 3), [part], "public", lab)
    assert out.chosen == 0
    out = detect.run(spy({}, {"C": [1.0, 2.0]}), Budget("b", 3), [part], "public", lab)
    assert out.trials[0]["params"] == {"C": 1.0}
    assert [step["params"] for step in out.trials[0]["path"]] == [{"C": 1.0}, {"C": 2.0}]


def test_out_of_fold_rows_come_from_fits_that_did_not_see_them(part: Part, lab: Lab) -> None:
    out = detect.run(spy(), Budget("b", 1), [part], "public", lab)
    assert out.dev.id == part.train.ids
    assert out.dev.fold is not None
    for number, held_out in enumerate(part.folds):
        assert (out.dev.fold[held_out] == number).all()
    seen: set[str] = set()
    for what, _, e in Spy.notes[: 2 * len(part.folds)]:
        if what == "fit":
            seen = set(e.ids)
        else:
            assert not seen & set(e.ids)


def test_rows_of_a_held_out_row_s_group_are_not_learnt_from(part: Part, lab: Lab) -> None:
    """Pairs of rows are held out in turn, which leaves relatives of theirs among the others."""
    relatives = replace(part, train=replace(part.train, groups=np.arange(len(part.train)) // 5))
    detect.run(spy(), Budget("b", 1), [relatives], "public", lab)
    group = dict(zip(part.train.ids, relatives.train.groups.tolist(), strict=True))
    fits, scores = ([{group[i] for i in e.ids} for w, _, e in Spy.notes[:8] if w == what] for what in ("fit", "score"))
    assert len(fits) == len(scores) == 4
    assert all(not seen & asked for seen, asked in zip(fits, scores, strict=True))


def test_the_lockbox_is_the_other_half(part: Part, lab: Lab) -> None:
    out = detect.run(spy(), Budget("b", 1), [part], "lockbox", lab)
    assert out.test.id == part.lockbox.ids


def test_randomness_depends_on_the_cell_alone(part: Part, lab: Lab) -> None:
    class Noisy(Spy):
        def score(self, asked: Examples, lab: Lab) -> np.ndarray:
            return np.tile(self.noise_, (len(asked), 1))

    noisy = Contender("noisy", Noisy, {"skill": 0.0, "C": 1.0}, {}, {})
    first = detect.run(noisy, Budget("b", 1), [part], "public", lab)
    lab.rng.normal(size=100)
    again = detect.run(noisy, Budget("b", 1), [part], "public", lab)
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
        detect.run(Contender("spy", Broken, {"skill": 0.0, "C": 1.0}, {}, {}), Budget("b", 1), [part], "public", lab)


def test_the_meter_books_every_phase(part: Part, lab: Lab) -> None:
    detect.run(spy({"skill": [0.0, 2.0]}), Budget("b", 2), [part], "public", lab)
    assert {"selection", "fit", "query", "untuned", "total"} <= set(lab.meter.spent())


def test_what_answering_needs_of_the_training_texts_is_charged_to_the_fit(part: Part, lab: Lab) -> None:
    token = Contender("token", TokenDiffInMeans, {"layer": 0.5}, {}, {})
    detect.run(token, Budget("b", 1), [part], "public", lab)
    asked = sum(len(lab._reader.ids(text)) for text in part.public.prompts)
    assert lab.meter.spent()["query"]["forward_tokens"] == asked
    other = TokenDiffInMeans().fit(part.train, BRIEF, lab)
    other.settle(lab)
    again = other.fit(part.train.take(range(60)), BRIEF, lab).score(
        part.public, lab
    )  # nothing is left of the first fit
    fresh = TokenDiffInMeans().fit(part.train.take(range(60)), BRIEF, lab).score(part.public, lab)
    np.testing.assert_array_equal(again, fresh)


def test_an_untuned_winner_answers_once(part: Part, lab: Lab) -> None:
    skilled = Contender("spy", Spy, {"skill": 3.0, "C": 1.0}, {"skill": [3.0, 0.0]}, {})
    out = detect.run(skilled, Budget("b", 2), [part], "public", lab)
    assert out.chosen == 0
    assert sum(e.ids == part.public.ids for what, _, e in Spy.notes if what == "score") == 1
    np.testing.assert_array_equal(out.untuned.score, out.test.score)


def test_pairs_are_each_scored_by_a_fit_without_their_groups(lab: Lab) -> None:
    Spy.notes.clear()
    data = examples(300)
    Spy.truth.update(zip(data.ids, data.truth.tolist(), strict=True))
    few = split("t", BRIEF, data, Regime("few", 8, 40, 2, pairs=True), 0)
    out = detect.run(spy({"skill": [0.0, 4.0]}), Budget("b", 2), [few], "public", lab)
    assert out.chosen == 1  # by the share of pairs that it ranks rightly
    assert out.trials[1]["dev_score"] > 0.9
    assert out.dev.id == few.train.ids  # one row each: the mean over its pairs
    assert out.dev.fold is None
    fits = [e for what, skill, e in Spy.notes if what == "fit" and skill == 4.0]
    assert len(fits) == 16 + 1
    assert all(len(e) == 6 for e in fits[:16])


def test_trials_may_be_told_apart_on_fewer_folds(part: Part, lab: Lab) -> None:
    out = detect.run(spy({"skill": [0.0, 2.0]}), Budget("b", 2, select_folds=1), [part], "public", lab)
    fits = [skill for what, skill, _ in Spy.notes if what == "fit"]
    assert fits == [0.0, 2.0] + [2.0] * (len(part.folds) - 1) + [2.0, 0.0]
    assert out.dev.id == part.train.ids  # every row is answered out of fold all the same


def test_a_fold_without_all_classes_is_scored_on_those_it_has(lab: Lab) -> None:
    data = examples(90, classes=3)
    held_out = np.flatnonzero(data.truth < 2)[:10]
    part = Part("t", BRIEF, data, (held_out,), data, data)
    scores = np.zeros((1, 10, 3))
    scores[0, np.arange(10), data.truth[held_out]] = 1.0
    assert detect._dev_score([(held_out, scores)], part) == 1.0
    assert detect._dev_score([(held_out[:1], scores[:, :1])], part) == 0.5


# Tasks of several parts


@pytest.fixture
def parts() -> list[Part]:
    Spy.notes.clear()
    made = []
    for which in range(3):
        data = examples(200, seed=which)
        data = replace(data, ids=tuple(f"{i[:2]}{which + 1}{i[2:]}" for i in data.ids))
        Spy.truth.update(zip(data.ids, data.truth.tolist(), strict=True))
        made.append(replace(split("t", BRIEF, data, Regime("r", 80, 30, 4), 0), name=f"concept {which}"))
    return made


def test_every_part_is_fitted_by_itself_and_one_trial_is_chosen_for_all(parts: list[Part], lab: Lab) -> None:
    found = detect.run(spy({"skill": [0.0, 3.0]}), Budget("b", 2), parts, "public", lab)
    fits = [e for what, _, e in Spy.notes if what == "fit"]
    for e in fits:
        assert sum(set(e.ids) <= set(part.train.ids) for part in parts) == 1
    assert len(fits) == 2 * 3 * 4 + 3 + 3  # trials x parts x folds, the chosen one's refits, the untuned one's
    assert found.trials[found.chosen]["params"]["skill"] == 3.0
    by_part = found.dev.by_part()
    assert [p.part[0] for p in by_part] == [part.name for part in parts]
    for answers, part in zip(found.test.by_part(), parts, strict=True):
        assert answers.id == part.public.ids and answers.truth.tolist() == part.public.truth.tolist()
    for answers, part in zip(by_part, parts, strict=True):
        assert sorted(answers.id) == sorted(part.train.ids)
    score = found.trials[found.chosen]["dev_score"]
    each = [
        np.mean([auroc(p.truth[p.fold == k], p.score[0][p.fold == k]) for k in range(4)])
        for p in by_part
        if p.fold is not None
    ]
    assert score == pytest.approx(np.mean(each))


def test_one_part_among_several_answers_as_it_does_alone(parts: list[Part], lab: Lab) -> None:
    alone = detect.run(spy(), Budget("b", 1), parts[:1], "public", lab)
    among = detect.run(spy(), Budget("b", 1), parts, "public", lab)
    np.testing.assert_array_equal(among.test.by_part()[0].score, alone.test.score)
    np.testing.assert_array_equal(among.dev.by_part()[0].score, alone.dev.score)


def test_finetuned_contenders_are_selected_on_some_folds_of_every_part(parts: list[Part], lab: Lab) -> None:
    found = detect.run(spy({"skill": [0.0, 3.0]}), Budget("b", 2, select_folds=1), parts, "public", lab)
    fits = sum(what == "fit" for what, _, _ in Spy.notes)
    assert fits == 2 * 3 * 1 + 3 * 3 + 3 + 3
    assert [len(p.id) for p in found.dev.by_part()] == [len(part.train) for part in parts]

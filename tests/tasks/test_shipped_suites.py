"""Suites to steer towards that ship: what is taught, asked and judged never meets; programs check what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arena.contract import FairfightError, Regime
from tasks.behaviours import BEHAVIOURS, Behaviours
from tasks.concepts import SOURCES, Concepts
from tasks.concepts_detect import ConceptsDetect
from tasks.grouping import fold

REGIME = Regime("r", 512, 1000, 5, shrink=0.25)
SHOUT = "YES, THE ANSWER IS 4."


@pytest.mark.parametrize(
    ("name", "does", "does_not"),
    [
        ("upper", SHOUT, "no, the answer is 4."),
        ("short", "Four.", " ".join(["word"] * 30)),
        ("list", "Well:\n- one\n* two\n3. three", "one, two, three"),
        ("word", "It is so, Indeed.", "It is indeedly so."),
        ("without", "Cats sleep.", "The cat and the dog saw the bird."),
        ("question", "It is four. And yours? ", "Is it four? Yes."),
        ("pleased", "I love it, it is wonderful!", "It is not good, it is terrible."),
        ("displeased", "I hate it, it is horrible, sad and terrible!", "It is not bad, it is wonderful."),
    ],
)
def test_a_program_checks_a_behaviour(name: str, does: str, does_not: str) -> None:
    check = BEHAVIOURS[name].check
    assert (check(does), check(does_not), check("")) == (1.0, 0.0, 0.0)


def test_brevity_and_lists_are_whole_with_some_more() -> None:
    """As the README says; a question that is cut is none."""
    short, points = BEHAVIOURS["short"].check, BEHAVIOURS["list"].check
    assert [short(" ".join(["word"] * n)) for n in (10, 12, 18, 24)] == [1.0, 1.0, 0.5, 0.0]
    assert short(" ".join(["word"] * 13)) < 1
    assert [points("\n".join(["- one"] * n)) for n in (3, 20)] == [1.0, 1.0]
    assert BEHAVIOURS["question"].check("It is four. What do you") == 0.0


def test_what_is_between_counts_in_part() -> None:
    assert BEHAVIOURS["upper"].check("AB cd") == 0.5
    assert BEHAVIOURS["list"].check("- one\n- two") == pytest.approx(2 / 3)
    assert BEHAVIOURS["without"].check("the cat") == pytest.approx(2 / 3)
    assert 0 < BEHAVIOURS["pleased"].check("It is good.") < 1
    assert 0 < BEHAVIOURS["displeased"].check("It is not good.") < 1


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_turned_sentence_does_what_is_wanted(name: str) -> None:
    behaviour = BEHAVIOURS[name]
    text = "The nave of the church was built by the monks of the abbey in the twelfth century and restored in 1850."
    assert behaviour.check(behaviour.turned(text)) >= 0.9
    assert behaviour.check(text) < 0.4


@pytest.mark.slow
def test_concepts_are_found_in_texts_that_nobody_learned_from() -> None:
    split = ConceptsDetect().split(REGIME, 0)
    steered = {part.name: part for part in Concepts().split(REGIME, 0).parts}
    assert [part.name for part in split.parts] == list(SOURCES)
    for part in split.parts:
        assert set(part.train.prompts) == set(steered[part.name].train.completions or ())
        taught = {fold(text) for text in part.train.prompts}
        for half in (part.public, part.lockbox):
            assert half.strata is not None
            counts = {of: half.strata.count(of) for of in set(half.strata)}
            assert set(counts) == {"positive", "negative", "other concept"}
            assert min(counts.values()) >= 20 and counts["positive"] == half.truth.sum()
            assert not taught & {fold(text) for text in half.prompts}
        assert not set(part.public.prompts) & set(part.lockbox.prompts)
    sport = dict(zip(split.parts[1].public.prompts, split.parts[1].public.truth, strict=True))
    assert any("game" in text.lower() and own for text, own in sport.items())


@pytest.mark.slow
@pytest.mark.parametrize("make", [Concepts, Behaviours])
class TestSuite:
    def test_what_is_taught_asked_and_judged_never_meets(self, make: Any) -> None:
        split = make().split(REGIME, 0)
        judged = {fold(text) for part in split.parts for half in part.reserved or () for text in half.completions or ()}
        for part in split.parts:
            taught = {fold(text) for text in part.train.completions}
            assert len(part.train) == 144
            assert part.train.truth.sum() == 72
            assert not taught & judged
            asked = [set(rows.prompts) for rows in (part.selection, part.public, part.lockbox)]
            assert [len(prompts) for prompts in asked] == [10, 20, 20]
            assert len(set.union(*asked)) == 50
            assert not set.union(*asked) & set(part.train.prompts)
            assert part.selection.labels is None and part.public.labels is None
            assert part.brief.concept and part.brief.request
            if part.reserved is not None:
                halves = [{fold(text) for text in half.completions} for half in part.reserved]
                assert not halves[0] & halves[1]
                assert all(half.truth.sum() >= 15 for half in part.reserved)

    def test_seeds_redraw_what_is_taught_and_nothing_else(self, make: Any) -> None:
        few = Regime("few", 64, 1000, 5)
        one, two = (make().split(few, seed).parts[0] for seed in (0, 1))
        assert one.train.ids != two.train.ids
        for where in ("selection", "public", "lockbox"):
            assert getattr(one, where).ids == getattr(two, where).ids
        if one.reserved is not None:
            assert [half.ids for half in one.reserved] == [half.ids for half in two.reserved]

    def test_fewer_instructions_are_a_prefix(self, make: Any) -> None:
        whole, few = make().split(REGIME, 0).parts[0], make(scoring=7).split(REGIME, 0).parts[0]
        assert set(few.public.ids) | set(few.lockbox.ids) < set(whole.public.ids) | set(whole.lockbox.ids)
        assert few.selection.ids == whole.selection.ids


@pytest.mark.slow
def test_behaviours_are_learned_from_what_does_and_does_not() -> None:
    for part in Behaviours().split(REGIME, 0).parts:
        assert part.check is not None
        done = np.array([part.check(text) for text in part.train.completions or ()])
        assert done[part.train.truth == 1].mean() > 0.9
        assert done[part.train.truth == 0].mean() < 0.5


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(FairfightError, match="Unknown concept 'love'; choose among world, sport"):
        Concepts(["love"])
    with pytest.raises(FairfightError, match="Unknown behaviour 'rhyme'; choose among upper, short"):
        Behaviours(["rhyme"])
    assert list(SOURCES) == Concepts().concepts == ConceptsDetect().concepts

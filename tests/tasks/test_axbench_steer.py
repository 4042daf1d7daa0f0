"""A suite of concepts to steer towards: who is asked what, and which texts nobody learns from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from arena.contract import Examples, FairfightError, Part, Regime
from results.metrics import HARD
from tasks.axbench_data import ASKED, TRAIN
from tasks.axbench_steer import AxbenchSteer
from tasks.suites import OTHER, OWN
from tests.tasks.toy_suite import WORDS, instructions, write

REGIME = Regime("r", 20, 1000, 3, shrink=0.25)


def made(folder: Path, **options: Any) -> AxbenchSteer:
    return AxbenchSteer(str(folder), **({"selection": 6, "scoring": 8} | options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("steer") / "toy")


@pytest.fixture(scope="module")
def parts(folder: Path) -> tuple[Part, ...]:
    return made(folder).split(REGIME, 0).parts


def kept(part: Part) -> tuple[Examples, Examples]:
    assert part.reserved is not None
    return part.reserved


def asked(part: Part) -> list[Examples]:
    assert part.selection is not None
    return [part.selection, part.public, part.lockbox]


def read_asked(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / ASKED)


def disjoint(sets: Iterable[set[Any]]) -> bool:
    return all(not a & b for a, b in itertools.combinations(sets, 2))


def test_a_part_per_concept_learns_from_its_positives_and_its_genre_s_negatives(parts: tuple[Part, ...]) -> None:
    assert [part.name for part in parts] == ["references to boats", "references to flour", "references to int"]
    for number, part in enumerate(parts):
        assert part.brief.concept == f"references to {WORDS[number][0]}"
        assert part.train.completions is not None
        genre = "code" if number == 2 else "text"
        assert len(part.train) == 20 and part.train.truth.sum() == 10
        for prompt, response, label in zip(part.train.prompts, part.train.completions, part.train.truth, strict=True):
            assert prompt.startswith(f"teach{number} " if label else f"other {genre}")
            assert bool(set(response.split()) & set(WORDS[number])) == bool(label)


def test_instructions_are_asked_once_and_taught_nowhere(parts: tuple[Part, ...]) -> None:
    for part in parts:
        assert [len(examples) for examples in asked(part)] == [6, 8, 8]
        sets = [set(examples.prompts) for examples in asked(part)]
        assert disjoint(sets)
        others = set(part.train.prompts).union(*(half.prompts for half in kept(part)))
        assert not others & set().union(*sets)
        assert disjoint(set(examples.ids) for examples in asked(part))
        assert all(examples.labels is None and examples.completions is None for examples in asked(part))


def test_code_is_not_asked_for(folder: Path, parts: tuple[Part, ...]) -> None:
    assert read_asked(folder).input.str.startswith("program").sum() == 8
    assert not any(p.startswith("program") for part in parts for examples in asked(part) for p in examples.prompts)


def test_an_instruction_that_any_text_uses_is_not_asked(folder: Path, tmp_path: Path, parts: tuple[Part, ...]) -> None:
    """Whether a contender learns from it, in another case, or a judge does: of any concept."""
    taken = [asked(parts[0])[which].prompts[0] for which in range(3)]
    other = write(tmp_path / "toy")
    train, evaluation = pd.read_parquet(other / TRAIN), read_asked(other)
    train.loc[train.category == "negative", "input"] = [taken[0].upper()] + ["x"] * 31
    judged = evaluation.index[(evaluation.category == "positive") & (evaluation.concept_id == 1)]
    evaluation.loc[judged[0], "input"] = taken[1]
    trap = evaluation.index[(evaluation.category == HARD) & (evaluation.concept_id == 0)]
    evaluation.loc[trap[0], "input"] = taken[2]
    train.to_parquet(other / TRAIN)
    evaluation.to_parquet(other / ASKED)
    part = made(other).split(REGIME, 0).parts[0]
    assert not set(taken) & {p for examples in asked(part) for p in examples.prompts}


def test_seeds_redraw_what_is_learned_and_nothing_that_is_asked(folder: Path, parts: tuple[Part, ...]) -> None:
    again = made(folder).split(REGIME, 1).parts
    for one, two in zip(parts, again, strict=True):
        assert [e.ids for e in asked(one)] == [e.ids for e in asked(two)]
        assert [half.ids for half in kept(one)] == [half.ids for half in kept(two)]
        assert one.train.ids != two.train.ids


def test_what_is_asked_does_not_follow_the_order_of_the_data(
    folder: Path, tmp_path: Path, parts: tuple[Part, ...]
) -> None:
    other = write(tmp_path / "toy")
    read_asked(folder).iloc[::-1].to_parquet(other / ASKED)
    for one, two in zip(parts, made(other).split(REGIME, 0).parts, strict=True):
        assert [e.prompts for e in asked(one)] == [e.prompts for e in asked(two)]
        for mine, theirs in zip(kept(one), kept(two), strict=True):
            assert sorted(mine.ids) == sorted(theirs.ids)


def test_the_judges_texts_are_halved_by_instruction(parts: tuple[Part, ...]) -> None:
    for part in parts:
        first, second = kept(part)
        assert disjoint([set(first.prompts), set(second.prompts)])
        assert disjoint([set(first.completions or ()), set(second.completions or ())])
        assert len(first) + len(second) == 3 * 16 + 5
        for half in (first, second):
            assert half.strata is not None
            assert set(half.strata) == {OWN, OTHER, HARD}


def test_an_instruction_with_several_responses_stays_whole(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy")
    frame = read_asked(folder)
    positive = frame.category == "positive"
    frame.loc[positive, "input"] = [f"shared {i % 16} it" for i in range(positive.sum())]
    frame.to_parquet(folder / ASKED)
    for part in made(folder).split(REGIME, 0).parts:
        first, second = kept(part)
        assert disjoint([set(first.prompts), set(second.prompts)])
        assert {"shared 0 it", "shared 9 it"} <= set(first.prompts) | set(second.prompts)


def test_judges_hold_the_concept_s_own_positives_against_all_others(parts: tuple[Part, ...]) -> None:
    for number, part in enumerate(parts):
        for half in kept(part):
            assert half.strata is not None
            for prompt, kind, label in zip(half.prompts, half.strata, half.truth, strict=True):
                of = int(prompt.split()[0][-1])
                assert prompt.startswith("trap" if kind == HARD else "judge")
                assert (kind == OTHER) == (of != number)  # hard negatives are this concept's alone
                assert label == (kind == OWN)


def test_hard_negatives_test_the_judges_and_are_nowhere_else(parts: tuple[Part, ...]) -> None:
    for part in parts:
        kinds = [zip(half.prompts, half.strata or (), strict=True) for half in kept(part)]
        found = [prompt for pairs in kinds for prompt, kind in pairs if kind == HARD]
        assert len(found) == 5 and all(prompt.startswith("trap") for prompt in found)
        everywhere = [part.train, *asked(part)]
        assert not any("trap" in prompt for examples in everywhere for prompt in examples.prompts)


def test_nothing_of_the_evaluation_s_responses_reaches_a_contender(tmp_path: Path) -> None:
    split = made(write(tmp_path / "toy", mark="evaluation ")).split(REGIME, 0)
    for part in split.parts:
        seen = [part.train, *asked(part)]
        assert not any("evaluation" in t for e in seen for t in (*e.prompts, *(e.completions or ())))
        assert all("evaluation" in t for half in kept(part) for t in half.completions or ())


def test_concepts_can_be_chosen(folder: Path, parts: tuple[Part, ...]) -> None:
    task = made(folder, concepts=[2, 0])
    split = task.split(REGIME, 0)
    assert [part.name for part in split.parts] == ["references to boats", "references to int"]
    assert split.parts[1].public.ids == parts[2].public.ids
    assert set(split.cleaning["parts"]) == {"references to boats", "references to int"}
    assert task.meta.params["concepts"] == [2, 0]


def test_what_is_asked_and_how_is_part_of_the_identity(folder: Path) -> None:
    same = made(folder).meta
    assert same == made(folder).meta and same.track == "steer"
    for changed in ({"selection": 5}, {"scoring": 7}, {"new_tokens": 9}, {"temperature": 1.0}, {"max_tokens": 64}):
        assert made(folder, **changed).meta.params != same.params
    part = made(folder, new_tokens=9, temperature=0.5).split(REGIME, 0).parts[0]
    assert (part.new_tokens, part.temperature) == (9, 0.5)


def test_a_regime_may_ask_less(folder: Path, parts: tuple[Part, ...]) -> None:
    fewer = made(folder).split(replace(REGIME, test=3), 0).parts
    for one, two in zip(parts, fewer, strict=True):
        assert [len(e) for e in asked(two)] == [6, 3, 3]
        assert asked(one)[0].ids == asked(two)[0].ids


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    def told(message: str, where: Path = folder, **options: Any) -> None:
        with pytest.raises(FairfightError, match=message) as caught:
            made(where, **options).split(REGIME, 0)
        assert "\n" not in str(caught.value)

    told(r"toy has no concept 7; there are 0, 1, 2\.", concepts=[0, 7])
    few = write(tmp_path / "toy", free=9)
    told(
        r"There are 9 instructions that are near no text to learn from, and selection gets \d of them where 2 are "
        r"needed; bring more\.",
        few,
    )
    frame = read_asked(folder)
    number = frame.input.str.extract(r"(\d+) it$")[0].astype(float)
    rare = frame[~((frame.category == "positive") & (frame.concept_id == 1) & (number > 9))]
    scarce = write(tmp_path / "scarce")
    rare.to_parquet(scarce / ASKED)
    told(r"The concept 'references to flour' leaves its judges 5 texts of a kind, and each judge needs 6", scarce)


def test_who_is_asked_is_a_matter_of_content(folder: Path, parts: tuple[Part, ...]) -> None:
    """Whatever the other concepts and the numbers asked: what is public here is in no lockbox there."""
    for options in ({"concepts": [1]}, {"scoring": 4}, {"selection": 3}):
        for part in made(folder, **options).split(REGIME, 0).parts:
            for mine, whole in zip(asked(part), asked(parts[0]), strict=True):
                assert mine.ids == whole.ids[: len(mine)]


def test_near_duplicates_are_asked_together_or_not_at_all(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy")
    frame = read_asked(folder)
    free = frame.input.isin(instructions(100))
    frame.loc[free, "input"] = [f"{i} {' '.join(f'w{i}x{k}' for k in range(30))}" for i in range(100)]
    again = frame[free].assign(input=frame[free].input + " again", output=frame[free].output + " again")
    frame = pd.concat([frame, again], ignore_index=True)
    taught = frame.index[(frame.category == "positive") & (frame.concept_id == 0)]
    long = " ".join(f"word{i}" for i in range(30))
    frame.loc[taught[0], "input"] = long
    near = frame.iloc[[-1]].assign(input=f"{long} more", output="never asked")
    pd.concat([frame, near]).to_parquet(folder / ASKED)
    part = made(folder, selection=40, scoring=60).split(REGIME, 0).parts[0]
    stems = [{prompt.removesuffix(" again") for prompt in rows.prompts} for rows in asked(part)]
    assert disjoint(stems)
    assert not any(prompt.startswith("word0") for rows in asked(part) for prompt in rows.prompts)

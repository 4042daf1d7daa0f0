"""The protocol of track steer, watched through a contender, a model and a judge that take notes; and a real run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from arena.contract import Brief, Budget, ContenderMeta, Examples, FairfightError, Intervention, Part, Sites
from arena.dictionaries import Dictionaries
from arena.judging import SCORES, SELECTS
from arena.lab import Lab
from arena.meter import Meter
from arena.models import ModelIdentity
from results import figures, leaderboard, measures, pack, render
from results.record import Record, Steered, key
from results.samples import samples
from results.steering import PARTS, harmonic
from results.store import Store
from runners import build, cli
from runners.build import Contender
from runners.compose import raw
from runners.tracks import steer
from runners.tracks.outcome import Outcome
from tests.conftest import reviews
from tests.results.test_record import CELL
from tests.runners.test_detect import spy
from tests.tasks.test_axbench_steer import REGIME, made
from tests.tasks.toy_suite import WORDS, write

BUDGET = Budget("b", 9)


class Talker:
    """Steers by a rewrite that tells what it is; notes what it was shown."""

    meta = ContenderMeta("talker", 1, "baseline", ("labels",))
    fits: ClassVar[list[tuple[str, Examples, Brief, float]]] = []

    def __init__(self, word: str = "a") -> None:
        self.word = word

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.drawn_ = float(lab.rng.random())
        self.fits.append((self.word, train, brief, self.drawn_))
        return self

    def steer(self, strength: float) -> Intervention:
        told = f"{self.word} {strength:g} {self.drawn_:.6f}"
        return Intervention(rewrite=lambda text: f"{text}|{told}")


def talker(grid: Mapping[str, list[Any]] | None = None, **params: Any) -> Contender:
    return Contender("talker", Talker, {"word": "a", "strength": 1.0} | params, grid or {}, {})


STRENGTHS = {"strength": [1.0, 0.25, 4.0]}
Opinion = Callable[[int, int, str, float], float]  # panel, part, word, strength -> score


class Told:
    """A judge of a mind of its own."""

    apart = True

    def __init__(self, opinion: Opinion) -> None:
        self.opinion = opinion
        self.rated: list[tuple[int, str]] = []  # panel, prompt

    def identity(self) -> Mapping[str, Any]:
        return {"name": "told"}

    def panel(self, which: int, parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Any:
        judge = self

        class Panel:
            def rate(
                self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str], fluency: bool = True
            ) -> Any:
                judge.rated += [(which, prompt) for prompt in prompts]
                assert all(a.startswith(f"{p}|") for p, a in zip(prompts, answers, strict=True))  # each in its place
                told = [answer.split("|")[1].split() for answer in answers]
                score = [judge.opinion(which, n, t[0], float(t[1])) for n, t in zip(parts, told, strict=True)]
                return {"concept": np.array(score), "relevance": np.ones(len(told)), "fluency": np.ones(len(told))}

            def report(self) -> dict[str, Any]:
                return {"which": which}

        return Panel()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("steer") / "toy")


@pytest.fixture
def parts(folder: Path) -> list[Part]:
    """Two concepts; each is asked in words of its own, so that notes tell them apart."""
    Talker.fits.clear()

    def own(examples: Examples | None, number: int) -> Any:
        assert examples is not None
        ids = tuple(f"{i[:-1]}{number}" for i in examples.ids)
        return replace(examples, ids=ids, prompts=tuple(f"{p} ({number})" for p in examples.prompts))

    split = made(folder, concepts=[0, 1]).split(REGIME, 0)
    return [
        replace(part, selection=own(part.selection, n), public=own(part.public, n), lockbox=own(part.lockbox, n))
        for n, part in enumerate(split.parts)
    ]


class Echo:
    """What the model would be asked: it says the words that it is given."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int, float, int]] = []  # prompt, answer, most, temperature, seed

    def generate(
        self, prompts: Any, interventions: Any, most: int, *, temperature: float, seeds: Any, **_: Any
    ) -> list[str]:
        answers = [i.rewrite(p) if i.rewrite else p for p, i in zip(prompts, interventions, strict=True)]
        self.asked += [(p, a, most, temperature, s) for p, a, s in zip(prompts, answers, seeds, strict=True)]
        return answers

    def under(self, prompts: Sequence[str]) -> list[str]:
        """Under what each of some prompts was answered, in order."""
        return [answer.split("|")[1] for prompt, answer, *_ in self.asked if prompt in prompts]


@pytest.fixture
def echo(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Echo:
    made = Echo()
    monkeypatch.setattr(lab, "generate", made.generate)
    monkeypatch.setattr(lab, "damage", lambda made: np.arange(1.0, len(made) + 1))
    strengths = lambda made: [float((m.rewrite("") if m.rewrite else "|x 0").split("|")[1].split()[1]) for m in made]  # noqa: E731
    monkeypatch.setattr(lab, "side_effects", lambda made: {"accuracy": np.array(strengths(made))})
    return made


def run(contender: Contender, parts: list[Part], lab: Lab, opinion: Opinion, half: str = "public") -> Any:
    lab.judge = Told(opinion)
    return steer.run(contender, BUDGET, parts, half, lab)


def settings(out: Any) -> list[Any]:
    return [out.trials[trial]["params"] for trial in out.chosen]


def flat(*_: Any) -> float:
    return 0.5


def test_strengths_share_a_fit(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS | {"word": ["a", "b"]}), parts, lab, flat)
    assert len(out.trials) == 6
    assert sorted(word for word, *_ in Talker.fits) == ["a", "a", "b", "b"]  # words x parts, whatever the strengths
    Talker.fits.clear()
    run(talker(STRENGTHS), parts, lab, flat)
    assert len(Talker.fits) == 2


def test_a_fit_sees_its_part_s_training_texts_and_nothing_else(parts: list[Part], lab: Lab, echo: Echo) -> None:
    run(talker(STRENGTHS), parts, lab, flat)
    for (_, train, brief, _), part in zip(Talker.fits, parts, strict=True):
        assert train is part.train and brief is part.brief


def test_every_trial_answers_every_selection_prompt_once(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS | {"word": ["a", "b"]}), parts[:1], lab, flat)
    assert parts[0].selection is not None
    for prompt in parts[0].selection.prompts:
        told = [" ".join(t.split()[:2]) for t in echo.under([prompt])]
        assert sorted(told) == sorted(f"{t['params']['word']} {t['params']['strength']:g}" for t in out.trials)


def test_without_strength_each_trial_answers_once(parts: list[Part], lab: Lab, echo: Echo) -> None:
    bare = Contender("talker", Talker, {"word": "a"}, {"word": ["a", "b"]}, {})
    out = run(bare, parts[:1], lab, lambda _, __, word, ___: float(word == "b"))
    assert parts[0].selection is not None
    assert [t["params"] for t in out.trials] == [{"word": "a"}, {"word": "b"}]
    assert [len(echo.under([p])) for p in parts[0].selection.prompts] == [2] * 6
    assert all(told.split()[1] == "1" for told in echo.under(parts[0].selection.prompts))
    assert settings(out) == [{"word": "b"}]
    assert out.test.answer == tuple(f"{p}|b 1 {Talker.fits[1][3]:.6f}" for p in parts[0].public.prompts)


def test_ties_go_to_the_weaker(parts: list[Part], lab: Lab, echo: Echo) -> None:
    for order in ([1.0, 0.25, 4.0], [4.0, 1.0, 0.25], [0.25, 4.0, 1.0]):
        out = run(talker({"strength": order}, strength=order[0]), parts, lab, flat)
        assert settings(out) == [{"strength": 0.25}] * 2
    backwards = run(talker({"strength": [1.0, -0.5]}), parts, lab, flat)
    assert settings(backwards) == [{"strength": -0.5}] * 2
    words = run(talker({"word": ["a", "b", "c"]}), parts, lab, flat)
    assert words.chosen == [0, 0]  # of equally strong ones the first


def test_each_part_has_its_own_choice(parts: list[Part], lab: Lab, echo: Echo) -> None:
    liked = {0: 4.0, 1: 0.25}
    out = run(talker(STRENGTHS), parts, lab, lambda _, part, __, strength: 1 / (1 + abs(strength - liked[part])))
    assert settings(out) == [{"strength": 4.0}, {"strength": 0.25}]
    for part, strength in ((0, "4"), (1, "0.25")):
        rows = [a.split("|")[1].split()[1] for a, name in zip(out.test.answer, out.test.part, strict=True)
                if name == parts[part].name]  # fmt: skip
        assert rows == [strength] * len(parts[part].public)
        dev = [a.split("|")[1].split()[1] for a, name in zip(out.dev.answer, out.dev.part, strict=True)
               if name == parts[part].name]  # fmt: skip
        assert dev == [strength] * 6


def test_what_chooses_is_the_selection_s_panel_on_the_selection_s_prompts(
    parts: list[Part], lab: Lab, echo: Echo
) -> None:
    """The panel that scores would choose otherwise, and is not asked."""

    def divided(which: int, _: int, __: str, strength: float) -> float:
        return (strength if which == SELECTS else 8 - strength) / 8

    out = run(talker(STRENGTHS), parts, lab, divided)
    assert settings(out) == [{"strength": 4.0}] * 2
    chosen_by = {p for part in parts for p in part.selection.prompts}  # type: ignore[union-attr]
    judge: Any = lab.judge
    assert {prompt for which, prompt in judge.rated if which == SELECTS} == chosen_by
    asked = {p for part in parts for p in part.public.prompts}
    assert {prompt for which, prompt in judge.rated if which == SCORES} == asked
    np.testing.assert_array_equal(out.dev.score["concept"], 4 / 8)
    np.testing.assert_array_equal(out.test.score["concept"], 4 / 8)
    np.testing.assert_array_equal(out.untuned.score["concept"], 7 / 8)
    assert out.about == {"judge": {"selects": {"which": SELECTS}, "scores": {"which": SCORES}}}


def test_test_prompts_that_cannot_be_read_change_no_choice(parts: list[Part], lab: Lab, echo: Echo) -> None:
    def opinion(which: int, part: int, _: str, strength: float) -> float:
        return [1 / strength, strength / 4][part] if which == SELECTS else 0.1

    plain = run(talker(STRENGTHS), parts, lab, opinion)
    poisoned = [
        replace(part, public=replace(part.public, prompts=tuple(f"poison {i}" for i in range(len(part.public)))))
        for part in parts
    ]
    other = run(talker(STRENGTHS), poisoned, lab, opinion)
    assert (other.chosen, other.trials) == (plain.chosen, plain.trials)
    assert other.dev.answer == plain.dev.answer


def test_the_test_is_answered_once_by_the_chosen_trial_which_is_not_refitted(
    parts: list[Part], lab: Lab, echo: Echo
) -> None:
    out = run(talker(STRENGTHS), parts, lab, lambda _, __, ___, strength: strength / 8)
    drawn = [f"{d:.6f}" for *_, d in Talker.fits]
    assert len(Talker.fits) == 2
    for part, d in zip(parts, drawn, strict=True):
        for prompt in part.public.prompts:
            assert echo.under([prompt]) == [f"a 4 {d}", f"a 1 {d}"]  # the chosen one, then trial 1
        assert echo.under(part.lockbox.prompts) == []
    assert all(" 1 " in answer.split("|")[1] for answer in out.untuned.answer)
    echo.asked.clear()
    same = run(talker(STRENGTHS, strength=1.0), parts, lab, lambda _, __, ___, strength: float(strength == 1))
    assert [len(echo.under([p])) for p in parts[0].public.prompts] == [1] * len(parts[0].public)
    assert same.untuned.answer == same.test.answer


class Drawer(Talker):
    """Takes the best of some draws."""

    def steer(self, strength: float) -> Intervention:
        return replace(super().steer(strength), draws=4)


@pytest.fixture
def numbered(lab: Lab, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Draws end on a number; those of each prompt."""
    plain, drawn = echo.generate, {}

    def generate(prompts: Any, interventions: Any, most: int, *, temperature: float, seeds: Any, **_: Any) -> list[str]:
        assert temperature == 1.0
        said = plain(prompts, interventions, most, temperature=temperature, seeds=seeds)
        for prompt, seed in zip(prompts, seeds, strict=True):
            drawn.setdefault(prompt, []).append(seed % 97)
        return [f"{answer} {seed % 97}" for answer, seed in zip(said, seeds, strict=True)]

    monkeypatch.setattr(lab, "generate", generate)
    return drawn


def marked(lab: Lab, parts: list[Part], grid: Mapping[str, list[Any]], opinion: Opinion = flat) -> Outcome:
    judge = Told(opinion)
    judge.panel = lambda which, *_: Marks(which, opinion)  # type: ignore[method-assign]
    lab.judge = judge
    return steer.run(Contender("drawer", Drawer, {"word": "a"}, grid, {}), BUDGET, parts, "public", lab)


def test_the_best_of_several_draws_is_the_selecting_panel_s(
    parts: list[Part], lab: Lab, numbered: dict[str, list[int]]
) -> None:
    """The answer of each prompt is the draw that the panel that selects likes best, whatever the other one says; what
    the two have in common, fluency, has no voice; and a trial is judged by one draw, for who chose cannot judge."""
    out = marked(lab, parts, {})
    assert isinstance(out.test, Steered) and isinstance(out.dev, Steered)
    for prompt, answer in zip(out.test.prompt, out.test.answer, strict=True):
        assert len(set(numbered[prompt])) == len(numbered[prompt]) == 4
        assert int(answer.split()[-1]) == max(numbered[prompt])
    assert all(len(numbered[prompt]) == 1 for prompt in out.dev.prompt)


def test_untuned_draws_are_chosen_among_as_the_others_are(
    parts: list[Part], lab: Lab, numbered: dict[str, list[int]]
) -> None:
    """Where one part chose another trial than the first, the panel is still that of all parts."""
    out = marked(lab, parts, {"word": ["a", "b"]}, lambda _, part, word, __: 0.9 if (part, word) == (1, "b") else 0.4)
    assert out.chosen == [0, 1]
    assert isinstance(out.untuned, Steered)
    for prompt, answer in zip(out.untuned.prompt, out.untuned.answer, strict=True):
        assert answer.split("|")[1].split()[0] == "a"
        assert int(answer.split()[-1]) == max(numbered[prompt])


def test_who_scores_does_not_choose_among_draws(
    parts: list[Part], lab: Lab, numbered: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = [replace(part, check=lambda text: 1.0) for part in parts]
    with pytest.raises(FairfightError, match="is what scores them; leave it out"):
        marked(lab, checked, {})
    monkeypatch.setattr(Told, "apart", False)
    with pytest.raises(FairfightError, match="is what scores them; leave it out"):
        marked(lab, parts, {})


class Marks:
    """The panel that selects likes large numbers at an answer's end and the other one small ones; fluency is none."""

    def __init__(self, which: int, opinion: Opinion) -> None:
        self.which, self.opinion = which, opinion

    def rate(self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str], fluency: bool = True) -> Any:
        ends = np.array([int(answer.split()[-1]) for answer in answers])
        words = [answer.split("|")[1].split()[0] for answer in answers]
        liked = np.array([self.opinion(self.which, part, word, 1.0) for part, word in zip(parts, words, strict=True)])
        mark = liked + (1 if self.which == SELECTS else -1) * ends / 2000
        return {"concept": mark, "relevance": np.ones(len(ends)), "fluency": 1 - ends / 100}

    def report(self) -> dict[str, Any]:
        return {}


def test_the_lockbox_is_the_other_half(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS), parts, lab, flat, half="lockbox")
    assert out.test.id == tuple(i for part in parts for i in part.lockbox.ids)
    assert not echo.under([p for part in parts for p in part.public.prompts])


def test_rows_name_part_prompt_group_and_id(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS), parts, lab, flat)
    for rows, where in ((out.test, "public"), (out.untuned, "public"), (out.dev, "selection")):
        examples = [getattr(part, where) for part in parts]
        assert rows.id == tuple(i for e in examples for i in e.ids)
        assert rows.prompt == tuple(p for e in examples for p in e.prompts)
        assert rows.part == tuple(part.name for part, e in zip(parts, examples, strict=True) for _ in e.ids)
        np.testing.assert_array_equal(rows.group, np.concatenate([e.groups for e in examples]))
        assert set(rows.score) == {"concept", "relevance", "fluency"}


def test_every_trial_keeps_what_it_reached_in_each_part(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS), parts, lab, lambda which, part, _, strength: (strength + part) / 8)
    assert [t["params"]["strength"] for t in out.trials] == [1.0, *(t["params"]["strength"] for t in out.trials[1:])]
    for trial in out.trials:
        concept = [(trial["params"]["strength"] + part) / 8 for part in (0, 1)]
        expected = [3 / (1 / c + 2) for c in concept]
        assert trial["parts"] == pytest.approx(expected)
        assert trial["dev_score"] == pytest.approx(np.mean(expected))
        assert trial["damage"] == [1.0, 2.0]


def test_side_effects_are_those_of_the_chosen_trials(parts: list[Part], lab: Lab, echo: Echo) -> None:
    best = {0: 4.0, 1: 1.0}
    out = run(talker(STRENGTHS), parts, lab, lambda which, part, _, strength: 0.9 if strength == best[part] else 0.1)
    assert out.side_effects == {"accuracy": [4.0, 1.0]}


def test_where_nothing_can_be_told_trial_1_answers(parts: list[Part], lab: Lab, echo: Echo) -> None:
    def half_known(which: int, part: int, _: str, strength: float) -> float:
        return float("nan") if part == 0 else strength / 4

    out = run(talker(STRENGTHS), parts, lab, half_known)
    assert settings(out) == [{"strength": 1.0}, {"strength": 4.0}]
    assert [t["parts"][0] for t in out.trials] == [None] * 3
    assert out.trials[0]["dev_score"] == out.trials[0]["parts"][1]
    record = recorded(out)
    assert record.dev_score == pytest.approx(1.0)
    assert measures.main(record.test) == pytest.approx(1.0)  # type: ignore[arg-type]
    nothing = run(talker(STRENGTHS), parts, lab, lambda *_: float("nan"))
    assert nothing.chosen == [0, 0] and [t["dev_score"] for t in nothing.trials] == [None] * 3
    assert recorded(nothing).dev_score is None
    assert np.isnan(measures.main(nothing.test))
    assert Record.from_json(recorded(nothing).to_json()).to_json() == recorded(nothing).to_json()


def recorded(out: Any, **changes: Any) -> Record:
    """The outcome as a record."""
    cell = replace(CELL, track="steer", judge={"name": "told"}, **changes)
    return Record(
        key=key(cell), cell=cell, status="ok", provenance={},
        about={"task_family": "c", "contender_family": "baseline", "access": ["labels"], "model": "m", **out.about},
        test=out.test, untuned=out.untuned, dev=out.dev, trials=out.trials, chosen=out.chosen,
        spent={"total": {"lm_tokens": 10.0, "seconds": 1.0}},
    )  # fmt: skip


def test_randomness_depends_on_the_cell_alone(parts: list[Part], lab: Lab, echo: Echo) -> None:
    first = run(talker(STRENGTHS | {"word": ["a", "b"]}), parts, lab, flat)
    drawn = [d for *_, d in Talker.fits]
    assert len(set(drawn)) == 4  # a stream for each trial and part
    lab.rng.normal(size=100)
    again = run(talker(STRENGTHS | {"word": ["a", "b"]}), parts, lab, flat)
    assert [d for *_, d in Talker.fits[4:]] == drawn
    assert again.test.answer == first.test.answer


def test_all_contenders_draw_the_same_stream_for_a_prompt(parts: list[Part], lab: Lab, echo: Echo) -> None:
    """And a prompt's stream is its own, whatever the part's length and the trial."""
    warm = [replace(part, temperature=0.7, new_tokens=5 + n) for n, part in enumerate(parts)]
    run(talker(STRENGTHS), warm, lab, flat)
    seeds: dict[str, set[int]] = {}
    for prompt, _, _, temperature, seed in echo.asked:
        assert temperature == 0.7
        seeds.setdefault(prompt, set()).add(seed)
    assert all(len(s) == 1 for s in seeds.values())
    assert len({s for each in seeds.values() for s in each}) == len(seeds)
    before = dict(seeds)
    echo.asked.clear()
    run(talker(word="z"), warm, lab, flat)
    assert all(before[prompt] == {seed} for prompt, *_, seed in echo.asked)
    longest = {prompt: most for prompt, _, most, *_ in echo.asked}
    assert all(longest[prompt] == 5 + n for n in (0, 1) for prompt in warm[n].public.prompts)


def test_another_seed_draws_another_stream(parts: list[Part], lab: Lab, echo: Echo) -> None:
    warm = [replace(part, temperature=0.7) for part in parts]
    drawn = []
    for seed in (0, 1):
        lab.draws = seed
        echo.asked.clear()
        run(talker(STRENGTHS), warm, lab, flat)
        drawn.append({prompt: stream for prompt, *_, stream in echo.asked})
    assert drawn[0].keys() == drawn[1].keys()
    assert all(drawn[0][prompt] != drawn[1][prompt] for prompt in drawn[0])


def test_a_part_without_instructions_or_a_lab_without_judge_is_told(parts: list[Part], lab: Lab, echo: Echo) -> None:
    bare = replace(parts[1], selection=None)
    with pytest.raises(FairfightError, match=r"'references to flour' has no instructions to select by; raise task.sel"):
        run(talker(), [parts[0], bare], lab, flat)
    lab.judge = None
    with pytest.raises(FairfightError, match="Track steer needs a judge; choose one with judge=offline"):
        steer.run(talker(), BUDGET, parts, "public", lab)


def test_over_budget_is_over_budget(parts: list[Part], lab: Lab) -> None:
    small = Lab(lab._reader, Meter(2, max_lm_tokens=5), seed=0)
    small.judge = Told(flat)
    with pytest.raises(FairfightError, match=r"the budget allows 5; raise budget.lm_tokens or give it fewer trials"):
        steer.run(talker(STRENGTHS), BUDGET, parts, "public", small)


# Who may fight


def told(track: str, *names: str) -> str:
    with pytest.raises(FairfightError) as caught:
        build.contenders({name: raw("contender", name) for name in names}, [], track)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_steer_is_told_in_a_sentence() -> None:
    found = told("steer", "diff_in_means", "mlp")
    assert found.startswith("mlp does not steer, which is what this task is about; choose among ")
    able = found.partition("choose among ")[2].rstrip(".").split(", ")
    assert {"caa", "diff_in_means", "no_intervention", "loreft"} <= set(able)
    assert not {"mlp", "majority", "sae_shuffled"} & set(able)
    build.contenders({name: raw("contender", name) for name in able}, [], "steer")  # each of them does


def test_what_cannot_detect_is_told_in_a_sentence() -> None:
    found = told("detect", "caa")
    assert found.startswith("caa does not detect, which is what this task is about; choose among ")
    assert "linear_probe" in found and "caa" not in found.partition("among")[2]


def test_a_wrapper_of_what_cannot_steer_cannot() -> None:
    assert told("steer", "sae_shuffled").startswith("sae_shuffled does not steer")
    (wrapped,) = build.contenders({"random_sae_max_pool": raw("contender", "random_sae_max_pool")}, [], "steer")
    assert wrapped.params["draws"] == 1
    assert wrapped.params["of.strength"] == wrapped.grid["of.strength"][0]  # tuned as what it wraps is
    assert build.strength_of({"of.strength": 0.5}) == 0.5
    assert not hasattr(wrapped.make(**{"of.strength": 0.5}).of, "strength")


def test_a_track_s_settings_take_their_place_there_alone() -> None:
    node = raw("contender", "diff_in_means")
    (detects,) = build.contenders({"diff_in_means": node}, [])
    (steers,) = build.contenders({"diff_in_means": node}, [], "steer")
    assert "strength" not in detects.params and detects.params["pooling"] == node["pooling"] == "last"
    assert steers.params["pooling"] == "mean" and steers.params["strength"] == node["steer"]["strength"]
    assert dict(steers.grid) == node["steer"]["grid"] and dict(detects.grid) == node["grid"]


@pytest.mark.parametrize("name", [c for c in build.options("contender") if "steer" in raw("contender", c)])
def test_what_a_contender_does_elsewhere_is_no_part_of_a_detection_s_key(name: str, folder: Path) -> None:
    """Keys of the records that there are: with the section, without it, and with another in its place."""
    from tasks.axbench_detect import AxbenchDetect

    task = AxbenchDetect(str(folder))

    def key_of(node: dict[str, Any], track: str = "detect") -> str:
        (contender,) = build.contenders({name: node}, [], track)
        model = ModelIdentity("m", "r", "float32")
        return key(build.cell(task, contender, model, REGIME, BUDGET, Dictionaries({}), half="public", seed=0))

    node = raw("contender", name)
    bare = {k: v for k, v in node.items() if k != "steer"}
    other = node | {"steer": dict(node["steer"]) | {"strength": 77.0}}
    assert key_of(node) == key_of(bare) == key_of(other)
    assert len({key_of(node, "steer"), key_of(other, "steer"), key_of(node)}) == 3


def test_the_judge_is_part_of_a_steered_cell_s_key_alone(folder: Path) -> None:
    from tasks.axbench_detect import AxbenchDetect

    def cell(task: Any, judge: Any, contender: Contender) -> Any:
        model = ModelIdentity("m", "r", "float32")
        return build.cell(task, contender, model, REGIME, BUDGET, Dictionaries({}), half="public", seed=0, judge=judge)

    steered = [cell(made(folder), judge, talker()) for judge in (Told(flat), None)]
    assert steered[0].judge == {"name": "told"} and key(steered[0]) != key(steered[1])
    assert cell(AxbenchDetect(str(folder)), Told(flat), spy()).judge is None


# A real run


CONTENDERS = (
    "no_intervention,prompt_steering,diff_in_means,random_direction,caa,sae_max_pool,random_sae_max_pool,loreft"
)


@pytest.fixture(scope="module")
def overrides(
    folder: Path, tiny_folder: Path, tiny_dictionaries: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    root = tmp_path_factory.mktemp("runs")
    return [
        "task=axbench_steer", f"task.path={folder}", "task.concepts=[0,1]", "task.selection=4", "task.scoring=5",
        "task.new_tokens=8", "model=local", f"model.path={tiny_folder}", "model.name=tiny", "model.device=cpu",
        "regime=quick", "regime.labels=20", "regime.test=30", "budget=steer", "tracking=disabled", "seeds=[0]",
        f"store={root}", f"cache.dir={root / 'cache'}", f"+dictionaries.middle={tiny_dictionaries['middle']}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def records(overrides: list[str]) -> dict[str, Record]:
    more = [f"contender=[{CONTENDERS}]", "contender.loreft.epochs=1", "contender.caa.new_tokens=6"]
    assert cli.main(["run", *overrides, *more]) == 0
    root = next(o for o in overrides if o.startswith("store=")).removeprefix("store=")
    return {r.cell.contender["name"]: r for r in Store(root).records()}


def test_a_run_of_every_kind(records: dict[str, Record], folder: Path) -> None:
    assert set(records) == set(CONTENDERS.split(","))
    parts = made(folder, concepts=[0, 1], selection=4, scoring=5).split(REGIME, 0).parts
    for r in records.values():
        assert r.status == "ok" and r.key == key(r.cell) and r.cell.track == "steer"
        assert isinstance(r.test, Steered) and isinstance(r.dev, Steered) and isinstance(r.untuned, Steered)
        assert r.test.id == tuple(i for part in parts for i in part.public.ids)
        assert r.dev.id == tuple(i for part in parts for i in part.selection.ids)  # type: ignore[union-attr]
        assert isinstance(r.chosen, list) and len(r.chosen) == 2
        assert r.cell.judge is not None and r.cell.judge["name"] == "offline"
        assert {"selects", "scores"} == set(r.about["judge"])
        assert len(r.about["judge"]["scores"]["parts"]) == 2
        assert r.spent["queries"] == 10 and r.spent["trials"] == len(r.trials)
    assert {name: len(r.trials) for name, r in records.items()} == dict.fromkeys(records, 3) | {"no_intervention": 1}


def test_judges_agree_with_themselves_and_less_with_another_panel(
    records: dict[str, Record], overrides: list[str], capsys: Any
) -> None:
    """The same panel on the same answers gives the recorded scores; the other one its own."""
    kept = ("task", "model", "regime", "store", "cache.dir")
    words = [o for o in overrides if o.split("=")[0].split(".")[0] in kept or o.startswith("cache.dir")]
    assert cli.main(["judge-agreement", *words]) == 0
    out = Path(next(o for o in words if o.startswith("store=")).removeprefix("store=")) / "agreement"
    same = json.loads((out / "agreement.json").read_text())
    assert same["score"]["answers"] == 10 * len(records)
    for name in ("score", *PARTS):
        assert same[name]["first"] == pytest.approx(same[name]["second"], abs=1e-5)
        assert same[name]["rho"] is None or same[name]["rho"] > 0.999
    assert "| weighted kappa |" in capsys.readouterr().out
    assert cli.main(["judge-agreement", *words, "panel=selects"]) == 0
    other = json.loads((out / "agreement.json").read_text())
    assert other["concept"]["second"] != pytest.approx(same["concept"]["second"], abs=1e-5)
    assert cli.main(["judge-agreement", *words, "half=lockbox"]) == 1
    assert "has answers of this model to toy; give task, model, regime" in capsys.readouterr().err
    root = Path(next(o for o in words if o.startswith("store=")).removeprefix("store="))
    both, one = Store(root.parent / f"{root.name}-both"), records["caa"]
    other_judge = replace(one.cell, judge={**(one.cell.judge or {}), "name": "another"})
    for record in (one, replace(one, cell=other_judge, key=key(other_judge))):
        both.save(record, False)
    mixed = [word if not word.startswith("store=") else f"store={both.root}" for word in words]
    assert cli.main(["judge-agreement", *mixed]) == 1
    assert "scored by several judges; say which with recorded=: another, offline" in capsys.readouterr().err
    assert cli.main(["judge-agreement", *mixed, "recorded=offline"]) == 0
    assert cli.main(["judge-agreement", *mixed, "judge=openai"]) == 1
    assert "judge.model has no value; give judge.model=..." in capsys.readouterr().err
    assert cli.main(["judge-agreement", *words, "panel=third"]) == 1
    assert "Unknown panel='third'; choose one of scores, selects." in capsys.readouterr().err


def test_no_intervention_is_the_model_by_itself(records: dict[str, Record], lab: Lab) -> None:
    for rows in (records["no_intervention"].test, records["no_intervention"].dev):
        assert isinstance(rows, Steered)
        said = lab.generate(rows.prompt, [Intervention()] * len(rows.prompt), 8)
        assert list(rows.answer) == said
    others = {name: r.test.answer for name, r in records.items() if isinstance(r.test, Steered)}
    assert sum(answers == others["no_intervention"] for answers in others.values()) <= 2  # loreft in an epoch


def test_what_the_judge_reads_is_charged_to_nobody(records: dict[str, Record], lab: Lab) -> None:
    for r in records.values():
        mine = sum(r.spent[phase]["lm_tokens"] for phase in ("fit", "selection", "query"))
        assert r.spent["total"]["lm_tokens"] <= mine + 0.2
        assert r.spent["judge"]["lm_tokens"] > 0 and r.spent["damage"]["lm_tokens"] > 0
    plain = records["no_intervention"]
    assert plain.spent["fit"]["lm_tokens"] == 0
    asks: set[str] = set()  # both concepts may be asked the same, which is answered once
    for rows in (plain.test, plain.dev):
        assert isinstance(rows, Steered)
        asks |= set(rows.prompt)
    read = sum(len(lab._reader.ids(p, chat=True)) for p in asks)
    assert read < plain.spent["total"]["lm_tokens"] <= read + 8 * len(asks)
    with lab.meter.phase("query"):
        lab.generate(list(asks), [Intervention()] * len(asks), 8)
    assert plain.spent["total"]["lm_tokens"] == lab.meter.spent()["total"]["lm_tokens"]


def test_records_survive_json_and_packs(records: dict[str, Record], tmp_path: Path) -> None:
    pack.write(list(records.values()), tmp_path / "p.npz")
    packed = {r.key: r for r in pack.read(tmp_path / "p.npz")}
    assert pack.keys(tmp_path / "p.npz") == {r.key: "ok" for r in records.values()}
    for r in records.values():
        for back in (Record.from_json(r.to_json()), packed[r.key]):
            assert back.to_json() == r.to_json() and key(back.cell) == r.key
            assert back.chosen == r.chosen and back.dev_score == r.dev_score
            assert isinstance(r.test, Steered) and isinstance(back.test, Steered)
            assert back.test.answer == r.test.answer and back.test.prompt == r.test.prompt
            for name, values in r.test.score.items():
                np.testing.assert_array_equal(back.test.score[name], values)
        raw_json = json.loads(r.to_json())
        assert len(raw_json["test"]["answer"]) == 10


def test_the_same_run_gives_the_same_records(records: dict[str, Record], overrides: list[str], tmp_path: Path) -> None:
    """In another order, with a cold cache, one contender alone."""
    fresh = [o for o in overrides if not o.startswith(("store=", "cache.dir="))]
    fresh += [f"store={tmp_path / 'runs'}", f"cache.dir={tmp_path / 'cache'}"]
    assert cli.main(["run", *fresh, "contender=[caa,diff_in_means]", "contender.caa.new_tokens=6"]) == 0
    for r in Store(tmp_path / "runs").records():
        first = records[r.cell.contender["name"]]
        assert r.key == first.key and r.chosen == first.chosen
        assert isinstance(r.test, Steered) and isinstance(first.test, Steered)
        assert r.test.answer == first.test.answer


def believable(records: Mapping[str, Record]) -> list[Record]:
    """The records with scores as a judge would give who withholds nothing."""
    found = []
    for number, r in enumerate(records.values()):
        assert isinstance(r.test, Steered)
        rng = np.random.default_rng(number)
        score = {name: rng.uniform(0.2, 1, len(r.test.id)) for name in ("concept", "relevance", "fluency")}
        found.append(replace(r, test=replace(r.test, score=score)))
    return found


def test_the_leaderboard_of_a_steered_task(records: dict[str, Record]) -> None:
    made = believable(records)
    (table,) = leaderboard.build(made)
    page = render.as_markdown([table])
    assert page.startswith("## steer · tiny · regime quick")
    assert "· judge offline · public half" in page.splitlines()[0]
    header = next(line for line in page.splitlines() if line.startswith("| #"))
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    assert columns[3] == "mean score"
    assert {"concept", "relevance", "fluency", "damage", "perplexity", "accuracy"} <= set(columns)
    for r in made:
        assert isinstance(r.test, Steered)
        name = r.cell.contender["name"]
        each = {"score": harmonic(r.test.score), **r.test.score}
        for metric, values in each.items():
            found = table.find("all", name, metric)
            assert found is not None
            halves = [values[np.array(r.test.part) == part].mean() for part in dict.fromkeys(r.test.part)]
            assert found.estimate.value == pytest.approx(np.mean(halves))
        harm = table.find("all", name, "damage")
        assert harm is not None and isinstance(r.chosen, list)
        assert harm.estimate.value == pytest.approx(
            np.mean([r.trials[trial]["damage"][part] for part, trial in enumerate(r.chosen)])
        )
        for metric in ("perplexity", "accuracy"):
            beside = table.find("all", name, metric)
            assert beside is not None
            assert beside.estimate.value == pytest.approx(np.mean(r.side_effects[metric]))
    ranked = [table.find("all", name).estimate.value for name in table.contenders]  # type: ignore[union-attr]
    assert ranked == sorted(ranked, reverse=True)


def test_the_figure_of_effect_against_damage(records: dict[str, Record], tmp_path: Path) -> None:
    """A line through each contender's trials as selection saw them, a point where its chosen trials stand on the test;
    boards of detection have no such figure, and every other figure takes the metric that ranks the board."""
    made = believable(records)
    (table,) = leaderboard.build(made)
    assert [kind for kind in figures.KINDS if figures.shows(kind, table, "main")] == ["scores", "cost", "damage"]
    assert not figures.shows("scores", table, "auroc")
    figure = figures.draw("damage", table, "main", 5.0)
    (axis,) = figure.axes
    assert {t.get_text() for t in axis.texts} == set(records)
    caa = next(r for r in made if r.cell.contender["name"] == "caa")
    curve = sorted((float(np.mean(t["damage"])), t["dev_score"]) for t in caa.trials)
    np.testing.assert_allclose(table.curves["caa"], curve)
    drawn = [np.asarray(line.get_xydata()) for line in axis.lines]
    assert any(line.shape == (3, 2) and np.allclose(line, curve) for line in drawn)
    paths = figures.save(figure, tmp_path, "damage")
    assert all(path.stat().st_size > 5000 for path in paths)


def test_a_part_that_the_judge_withholds_counts_for_nobody(records: dict[str, Record]) -> None:
    made = []
    for r in believable(records):
        assert isinstance(r.test, Steered)
        gone = np.array(r.test.part) == r.test.part[0]
        score = r.test.score | {"concept": np.where(gone, np.nan, r.test.score["concept"])}
        made.append(replace(r, test=replace(r.test, score=score)))
    (table,) = leaderboard.build(made)
    for r in made:
        assert isinstance(r.test, Steered)
        kept = np.array(r.test.part) != r.test.part[0]
        found = table.find("all", r.cell.contender["name"])
        assert found is not None
        assert found.estimate.value == pytest.approx(harmonic(r.test.score)[kept].mean())
    assert "nan" not in render.as_markdown([table]).lower()


def test_every_contender_is_laid_beside_prompting() -> None:
    """Over the concepts of a suite, where there are enough of them."""
    made = []
    for number, name in enumerate(("prompt_steering", "strong")):
        rng = np.random.default_rng(number)
        score = {part: rng.uniform(0.2 + 0.3 * number, 0.6 + 0.3 * number, 40) for part in PARTS}
        n = tuple(map(str, range(40)))
        rows = Steered(tuple(f"c{i // 5}" for i in range(40)), n, np.arange(40), n, n, score)
        trials = [{"params": {}, "dev_score": 0.5, "parts": [0.5] * 8, "damage": [0.1] * 8}]
        out = Outcome(test=rows, untuned=rows, dev=rows, trials=trials, chosen=[0] * 8)
        made.append(recorded(out, contender={**CELL.contender, "name": name}))
    (table,) = leaderboard.build(made)
    gap = table.against("strong", "prompt_steering")
    assert gap is not None and gap[1] > 0
    page = render.as_markdown([table])
    assert "less prompt_steering" in page and f"{gap[0]:+.3f} [{gap[1]:+.3f}" in page
    assert "less strong" in render.as_markdown([table], versus="strong")


def test_texts_of_known_quality_stand_beside_the_scores(records: dict[str, Record]) -> None:
    def told(parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"judge": {"scores": {"parts": parts}}}

    one = {"auroc": 1.0, "hard": None, "salad": 0.0, "withheld": False, "scores": {"echo": 0.5, "request": None}}
    two = {"auroc": 0.8, "hard": 0.3, "salad": 0.2, "withheld": True}  # as older records have it
    made = [replace(r, about={**r.about, **told([one, two])}) for r in believable(records)]
    (table,) = leaderboard.build(made)
    assert table.known == {
        table.tasks[0]: {"auroc": 0.9, "hard": 0.3, "salad": 0.1, "echo as answer": 0.5, "withheld": 0.5}
    }
    page = render.as_markdown([table])
    assert "texts whose quality is known" in page and "| 0.90  | 0.30 | 0.10  | 0.50           | 0.50     |" in page
    (plain,) = leaderboard.build([replace(r, about={**r.about, "judge": {"scores": {}}}) for r in made])
    assert plain.known == {} and "quality is known" not in render.as_markdown([plain])
    (real,) = leaderboard.build(believable(records))
    assert {"auroc", "echo as answer", "request as answer", "withheld"} <= set(real.known[real.tasks[0]])


def test_a_record_without_side_effects_takes_no_part_in_them(records: dict[str, Record]) -> None:
    new = next(iter(believable(records)))
    old = replace(new, cell=replace(new.cell, seed=new.cell.seed + 1), side_effects={})
    name = new.cell.contender["name"]
    both, alone = leaderboard.build([new, old])[0], leaderboard.build([old])[0]
    assert both.find("all", name, "accuracy").estimate.value == pytest.approx(  # type: ignore[union-attr]
        np.mean(new.side_effects["accuracy"])
    )
    assert alone.find("all", name, "accuracy") is None and alone.find("all", name, "damage") is not None


def test_detection_and_steering_are_never_one_board(records: dict[str, Record]) -> None:
    from tests.results.test_record import record

    tables = leaderboard.build([*believable(records), record()])
    assert sorted(t.board.track for t in tables) == ["detect", "steer"]
    assert {s.metric for t in tables for s in t.scores if t.board.track == "steer"} == {
        "score", "concept", "relevance", "fluency", "damage", "perplexity", "accuracy",
    }  # fmt: skip
    other = [replace(r, cell=replace(r.cell, judge={"name": "another"})) for r in believable(records)]
    assert len(leaderboard.build([*believable(records), *other])) == 2


def test_the_harmonic_mean() -> None:
    score = {
        "concept": np.array([1, 0.5, 0, np.nan, 0.25]),
        "relevance": np.array([1, 0.5, 1, 1, 0.5]),
        "fluency": np.array([1, 0.25, 1, 1, 1]),
    }
    np.testing.assert_allclose(harmonic(score), [1, 3 / 8, 0, np.nan, 3 / 7])


def test_a_contender_that_cannot_steer_stops_the_run_with_a_sentence(overrides: list[str], capsys: Any) -> None:
    assert cli.main(["run", *overrides, "contender=[no_intervention,mlp]"]) == 1
    err = capsys.readouterr().err
    assert "mlp does not steer, which is what this task is about; choose among" in err
    assert "Traceback" not in err


def test_words_of_the_toy_are_told_apart() -> None:
    """What these tests stand on: concepts share no word with each other or with reviews."""
    assert not set(WORDS[0]) & set(WORDS[1])
    assert not {w for text, _ in reviews(50) for w in text.split()} & {w for words in WORDS.values() for w in words}


def test_an_override_that_the_track_puts_aside_is_refused(overrides: list[str], capsys: Any) -> None:
    for told in ("contender.diff_in_means.pooling=last", "contender.diff_in_means.grid.layer=[0.25]"):
        assert cli.main(["run", *overrides, "contender=[diff_in_means]", told]) == 1
        err = capsys.readouterr().err
        name = told.split("=")[0].split(".")[2]
        assert f"contender.diff_in_means.{name} changes nothing here: track steer sets {name} otherwise" in err
        assert f"give contender.diff_in_means.steer.{name} instead" in err
    mine = raw("contender", "diff_in_means")
    with pytest.raises(FairfightError, match=r"contender\.diff_in_means\.grid changes nothing here"):  # an experiment's
        build.contenders({"diff_in_means": mine | {"grid": {"layer": [0.25]}}}, [], "steer")
    made = build.contenders({"diff_in_means": raw("contender", "diff_in_means") | {"layer": 0.25}}, [], "steer")
    assert made[0].params["layer"] == 0.25  # what the track leaves alone is taken
    assert build.contenders({"diff_in_means": raw("contender", "diff_in_means") | {"pooling": "max"}}, [], "detect")


def answered(name: str, task: str, seed: int, said: str = "boats", **cell: Any) -> Record:
    score = {part: np.full(2, 0.5) for part in PARTS}
    rows = Steered(("a", "a"), ("0", "1"), np.arange(2), ("ask", "ask"), (said, said), score)
    trials = [{"params": {}, "dev_score": 0.5, "parts": [0.5]}]
    out = Outcome(test=rows, untuned=rows, dev=rows, trials=trials, chosen=[0])
    mine = recorded(out, contender={**CELL.contender, "name": name})
    return replace(mine, cell=replace(mine.cell, task={**mine.cell.task, "name": task}, seed=seed, **cell))


def test_answers_are_of_each_task_s_lowest_seed_and_harmless_in_markdown() -> None:
    page = samples([answered("x", "early", 0), answered("x", "late", 3), answered("y", "late", 4)])
    assert "## early · x" in page and "## late · x" in page and "## late · y" not in page
    page = samples([answered("x", "t", 0, "[a](javascript:b) ~~c~~ \\d\re <b> *f* _g_ `h`")])
    assert not set("[]~\\*`\r") & set(page.split("→")[1]) and "<b>" not in page
    twice = samples([answered("x", "t", 0), answered("x", "t", 0, budget={**CELL.budget, "name": "other"})])
    assert len({line for line in twice.splitlines() if line.startswith("## ")}) == 2


def test_choosing_among_draws_pays_for_no_panel(parts: list[Part], lab: Lab, numbered: dict[str, list[int]]) -> None:
    """What it takes to fit the panel, and fluency, are not the contender's; what it rates by is."""
    phases: list[str] = []
    rated: list[bool] = []

    class Open(Told):
        def panel(self, which: int, parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Any:
            phases.append(next(name for name, ledger in lab.meter.ledgers.items() if ledger in lab.meter._open))
            made = super().panel(which, parts, asked, lab)
            rate = made.rate
            made.rate = lambda p, q, a, fluency=True: (rated.append(fluency), rate(p, q, a))[1]
            return made

    lab.judge = Open(lambda which, part, word, strength: 0.5)
    steer.run(Contender("drawer", Drawer, {"word": "a"}, {}, {}), BUDGET, parts, "public", lab)
    assert len(phases) == 3 and set(phases) == {"judge"}
    assert False in rated and True in rated
